#pragma once
// Calls that may never return, such as those of a store whose host is gone.
#include <c10/util/Exception.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>

namespace weft::comm {

/// A thread that makes them. It is there from the beginning, since a process that is out of memory cannot start one.
/// Not to be used by two threads at once.
class TimedCalls {
 public:
  TimedCalls() { start(); }
  /// Leaves behind what is under way.
  ~TimedCalls() { leave(); }
  TimedCalls(const TimedCalls&) = delete;
  TimedCalls& operator=(const TimedCalls&) = delete;

  /// The value of `call`, or its error. Raises RuntimeError, saying that `who` does not answer, when it has not
  /// returned by then, and leaves it behind: it must hold all that it uses.
  template <class Call>
  auto within(std::chrono::milliseconds limit, const char* who, Call call) {
    auto task = std::make_shared<std::packaged_task<decltype(call())()>>(std::move(call));
    auto answer = task->get_future();
    if (thread_ == nullptr) start();
    begin([task] { (*task)(); });
    if (answer.wait_for(limit) != std::future_status::ready) {
      leave();
      TORCH_CHECK(false, "[W097] ", who, " does not answer");
    }
    return answer.get();
  }

 private:
  struct Thread;
  void start();
  void begin(std::function<void()> call);
  void leave();

  std::shared_ptr<Thread> thread_;  // null: the last one was left behind
};

}  // namespace weft::comm
