#include "checkpoint/background.h"

#include <c10/util/Exception.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <future>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <utility>

#include "base/error_codes.h"
#include "comm/world/python_lock.h"
#include "mesh/context.h"

namespace weft {

struct PendingSave::State {
  std::shared_future<void> end;
  // A process that is forked off has not the thread.
  const pid_t process = ::getpid();
  bool is_forked() const { return process != ::getpid(); }
  std::atomic<bool> asked = false;  // how it ended
};

bool PendingSave::done() const { return state_->end.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }

void PendingSave::wait() const {
  TORCH_CHECK(done() || !state_->is_forked(),
              "[W004] PendingSave: the save goes on in the process that this one was forked off");
  const comm::WithoutPythonLock unlocked;
  state_->asked = true;
  state_->end.get();
}

namespace checkpoint {
namespace {

// Those under way, of all ranks of the process.
class UnderWay {
 public:
  // Never destroyed: the end of the program comes to it.
  static UnderWay& all() {
    static auto* const all = new UnderWay;
    return *all;
  }
  void add(const PendingSave& save) {
    [[maybe_unused]] static const int at_exit = std::atexit([] { all().finish(); });
    const std::lock_guard<std::mutex> lock(mutex_);
    std::erase_if(saves_, [](const PendingSave& s) { return s.done(); });
    saves_.push_back(save);
  }
  void finish() {
    std::vector<PendingSave> saves;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      saves.swap(saves_);
    }
    for (const PendingSave& save : saves) wait(save);
  }
  // Nobody may ever ask how it ended.
  static void wait(const PendingSave& save) {
    const auto& state = save.state();
    if (state.is_forked() && !save.done()) return;
    const bool asked = state.asked;
    try {
      save.wait();
    } catch (const c10::Error& error) {
      if (!asked) TORCH_WARN(coded("W119", c10::str("async_save: ", error.what_without_backtrace())));
    } catch (const std::exception& error) {
      if (!asked) TORCH_WARN(coded("W119", c10::str("async_save: ", error.what())));
    }
  }

 private:
  std::mutex mutex_;
  std::vector<PendingSave> saves_;
};

struct Last : ContextState {
  std::optional<PendingSave> save;
};

}  // namespace

void finish_save() {
  auto& last = context().state<Last>().save;
  if (!last) return;
  UnderWay::wait(*last);
  last.reset();
}

void finish_all_saves() { UnderWay::all().finish(); }

PendingSave ended_save() {
  std::promise<void> ended;
  ended.set_value();
  const auto state = std::make_shared<PendingSave::State>();
  state->end = ended.get_future().share();
  return PendingSave(state);
}

PendingSave start_save(std::function<void()> save) {
  std::packaged_task<void()> task(std::move(save));
  const auto state = std::make_shared<PendingSave::State>();
  state->end = task.get_future().share();
  const PendingSave pending(state);
  context().state<Last>().save = pending;
  UnderWay::all().add(pending);
  std::thread(std::move(task)).detach();
  return pending;
}

}  // namespace checkpoint
}  // namespace weft
