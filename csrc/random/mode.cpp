#include "random/mode.h"

#include <atomic>

#include "comm/agree/settings.h"

namespace weft::random {
namespace {

std::atomic<Mode> process_mode{Mode::counter};
thread_local std::optional<Mode> thread_mode;

}  // namespace

Mode mode() { return thread_mode.value_or(process_mode.load(std::memory_order_relaxed)); }

void set_mode(Mode mode) {
  process_mode.store(mode, std::memory_order_relaxed);
  comm::register_uniform_setting("random_mode", mode == Mode::replay ? "replay" : "");
}

ModeScope::ModeScope(Mode mode) : outer_(thread_mode) { thread_mode = mode; }

ModeScope::~ModeScope() { thread_mode = outer_; }

}  // namespace weft::random
