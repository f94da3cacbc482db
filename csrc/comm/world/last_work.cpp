#include "comm/world/last_work.h"

#include <c10/util/FunctionRef.h>

#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>

#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO  // without it the headers below are empty
#endif
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "comm/world/as_gloo.h"
#include "comm/world/python_lock.h"
#include "mesh/split.h"

namespace weft::comm {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPatience{500}, kPause{1};

// What a Gloo group keeps about its workers, which only classes derived from it may see.
class Workers : public c10d::ProcessGroupGloo {
 public:
  using Work = c10::intrusive_ptr<AsyncWork>;

  static bool idle(ProcessGroupGloo& gloo) {
    const std::unique_lock<std::mutex> lock(gloo.*(&Workers::workMutex_), std::try_to_lock);
    if (!lock || !(gloo.*(&Workers::workQueue_)).empty()) return false;  // a worker destroys works with the lock held
    for (const Work& work : gloo.*(&Workers::workInProgress_)) {
      if (work) return false;
    }
    return true;
  }

  static void keep_works(ProcessGroupGloo& gloo) {
    const std::unique_lock<std::mutex> lock(gloo.*(&Workers::workMutex_), std::try_to_lock);
    if (!lock) return;
    static auto* kept = new std::vector<Work>();  // leaked on purpose
    for (const Work& work : gloo.*(&Workers::workQueue_)) kept->push_back(work);
    for (const Work& work : gloo.*(&Workers::workInProgress_)) kept->push_back(work);
  }
};

// Waits for the workers of each Gloo group, which then goes to `each`.
void await_idle(const std::vector<Group>& groups, steady_clock::time_point deadline,
                c10::function_ref<void(c10d::ProcessGroupGloo&)> each) {
  const WithoutPythonLock unlocked;
  for (const Group& group : groups) {
    for (const auto& backend : backends_of(group)) {
      c10d::ProcessGroupGloo* gloo = as_gloo(*backend);
      if (gloo == nullptr) continue;
      while (!Workers::idle(*gloo) && steady_clock::now() < deadline) std::this_thread::sleep_for(kPause);
      each(*gloo);
    }
  }
}

std::vector<Group> with_own(std::vector<Group> groups) {
  for (Group& group : context().groups()) groups.push_back(std::move(group));
  return groups;
}

}  // namespace

void await_workers(std::vector<Group> groups) {
  await_idle(with_own(std::move(groups)), steady_clock::now() + kPatience, [](c10d::ProcessGroupGloo&) {});
}

void finish_work(const std::vector<Group>& groups, steady_clock::time_point deadline) {
  await_idle(groups, deadline, &Workers::keep_works);
}

void finish_last_work(std::vector<Group> groups) {
  static const auto deadline = steady_clock::now() + kPatience;
  finish_work(with_own(std::move(groups)), deadline);
}

void finish_last_work_at_exit() {
  static const int registered = std::atexit([] { finish_last_work(); });
  (void)registered;
}

}  // namespace weft::comm
