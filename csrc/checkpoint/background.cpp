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

namespace checkpoint {

struct RunningSave {
  std::shared_future<void> end;
  // A process that is forked off has not the thread.
  const pid_t process = ::getpid();
  bool is_forked() const { return process != ::getpid(); }
  std::atomic<bool> asked = false;  // how it ended

  bool done() const { return end.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }
  void wait() {
    TORCH_CHECK(done() || !is_forked(),
                "[W004] PendingSave: the save goes on in the process that this one was forked off");
    const comm::WithoutPythonLock unlocked;
    asked = true;
    end.get();
  }
};

}  // namespace checkpoint

struct PendingSave::State {
  std::shared_ptr<checkpoint::RunningSave> save;
  std::shared_ptr<void> memory;
};

bool PendingSave::done() const { return state_->save->done(); }

void PendingSave::wait() const { state_->save->wait(); }

namespace checkpoint {
namespace {

using Running = std::shared_ptr<RunningSave>;

// Those under way, of all ranks of the process.
class UnderWay {
 public:
  // Never destroyed: the end of the program comes to it.
  static UnderWay& all() {
    static auto* const all = new UnderWay;
    return *all;
  }
  void add(const Running& save) {
    [[maybe_unused]] static const int at_exit = std::atexit([] { all().finish(); });
    const std::lock_guard<std::mutex> lock(mutex_);
    std::erase_if(saves_, [](const Running& s) { return s->done(); });
    saves_.push_back(save);
  }
  void finish() {
    std::vector<Running> saves;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      saves.swap(saves_);
    }
    for (const Running& save : saves) wait(*save);
  }
  // Nobody may ever ask how it ended.
  static void wait(RunningSave& save) {
    if (save.is_forked() && !save.done()) return;
    const bool asked = save.asked;
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
  std::vector<Running> saves_;
};

struct Last : ContextState {
  Running save;
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
  const auto running = std::make_shared<RunningSave>(ended.get_future().share());
  return PendingSave(std::make_shared<PendingSave::State>(running));
}

PendingSave start_save(std::function<void()> save, std::shared_ptr<void> memory) {
  std::packaged_task<void()> task(std::move(save));
  const auto running = std::make_shared<RunningSave>(task.get_future().share());
  context().state<Last>().save = running;
  UnderWay::all().add(running);
  std::thread(std::move(task)).detach();
  return PendingSave(std::make_shared<PendingSave::State>(running, std::move(memory)));
}

}  // namespace checkpoint
}  // namespace weft
