#include "checkpoint/background.h"

#include <cstdlib>
#include <exception>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

#include "comm/world/python_lock.h"
#include "mesh/context.h"

namespace weft {

struct PendingSave::State {
  std::shared_future<void> end;
};

bool PendingSave::done() const { return state_->end.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }

void PendingSave::wait() const {
  const comm::WithoutPythonLock unlocked;
  state_->end.get();
}

namespace checkpoint {
namespace {

// Those under way, of all ranks of the process.
struct UnderWay {
  std::mutex mutex;
  std::vector<std::shared_future<void>> saves;

  void add(const std::shared_future<void>& save) {
    static const bool at_exit = std::atexit([] { all().finish(); }) == 0;
    (void)at_exit;
    const std::lock_guard<std::mutex> lock(mutex);
    std::erase_if(saves,
                  [](const auto& s) { return s.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    saves.push_back(save);
  }
  void finish() {
    const comm::WithoutPythonLock unlocked;
    const std::lock_guard<std::mutex> lock(mutex);
    for (const auto& save : saves) save.wait();
    saves.clear();
  }
  // Never destroyed: the end of the program comes to it.
  static UnderWay& all() {
    static auto* const all = new UnderWay;
    return *all;
  }
};

struct Last : ContextState {
  std::optional<PendingSave> save;
};

}  // namespace

void finish_save() {
  auto& last = context().state<Last>().save;
  if (!last) return;
  try {
    last->wait();
  } catch (const std::exception&) {  // told by its own handle
  }
  last.reset();
}

void finish_all_saves() { UnderWay::all().finish(); }

PendingSave ended_save() {
  std::promise<void> ended;
  ended.set_value();
  return PendingSave(std::make_shared<PendingSave::State>(PendingSave::State{ended.get_future().share()}));
}

PendingSave start_save(std::function<void()> save) {
  std::packaged_task<void()> task(std::move(save));
  const std::shared_future<void> end = task.get_future().share();
  const PendingSave pending(std::make_shared<PendingSave::State>(PendingSave::State{end}));
  context().state<Last>().save = pending;
  UnderWay::all().add(end);
  std::thread(std::move(task)).detach();
  return pending;
}

}  // namespace checkpoint
}  // namespace weft
