#include "comm/lockstep/failure.h"

#include <c10/core/impl/TorchDispatchModeTLS.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <utility>

#include "comm/lockstep/apart.h"
#include "comm/lockstep/error_types.h"
#include "comm/lockstep/failures.h"
#include "comm/world/fork.h"
#include "comm/world/python_lock.h"

namespace weft::comm {
namespace {

thread_local uint64_t last_asked = 0;
thread_local int apart = 0;

}  // namespace

void begin_apart() { ++apart; }
void end_apart() { --apart; }

void report_failure(const std::string& op, bool in_collective) {
  if (context().world_size() == 1 || is_forked() || apart > 0) return;
  if (c10::impl::TorchDispatchModeTLS::any_modes_set()) return;  // a compiler asked: all ranks' do, and nobody waits
  Failure failure;
  failure.op = op;
  c10::Error* error = nullptr;
  try {
    throw;
  } catch (c10::Error& e) {
    error = &e;
    failure.message = e.what_without_backtrace();
    failure.type = error_type(e);
  } catch (const std::exception& e) {
    failure.message = e.what();
  } catch (...) {
    failure.message = "an unknown error";
  }
  const WithoutPythonLock unlocked;
  const bool told = context().state<Failures>().tell(std::move(failure), in_collective);
  if (told && error) error->add_context(c10::str("[", op, "] failed on this rank's part; the other ranks are told"));
}

void count_collective(const Event& event) { last_asked = context().state<Failures>().count(event); }

uint64_t asked() { return last_asked; }

uint64_t all_asked() { return context().state<Failures>().rolled(); }

}  // namespace weft::comm
