#include "comm/lockstep/timed_calls.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

namespace weft::comm {

struct TimedCalls::Thread {
  void run() {
    std::unique_lock<std::mutex> lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return next || left; });
      if (left) return;
      const auto call = std::exchange(next, nullptr);
      lock.unlock();
      call();
      lock.lock();
    }
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::function<void()> next;
  bool left = false;
};

void TimedCalls::start() {
  auto thread = std::make_shared<Thread>();
  std::thread([thread] { thread->run(); }).detach();
  thread_ = std::move(thread);
}

void TimedCalls::begin(std::function<void()> call) {
  const std::lock_guard<std::mutex> lock(thread_->mutex);
  thread_->next = std::move(call);
  thread_->changed.notify_one();
}

void TimedCalls::leave() {
  const auto thread = std::exchange(thread_, nullptr);
  if (thread == nullptr) return;
  const std::lock_guard<std::mutex> lock(thread->mutex);
  thread->left = true;
  thread->changed.notify_one();
}

}  // namespace weft::comm
