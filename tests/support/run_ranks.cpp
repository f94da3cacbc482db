#include "support/run_ranks.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace weft::test {
namespace {

constexpr std::chrono::seconds kLimit{60};

// Ends the process unless it is gone in time.
class Watchdog {
 public:
  explicit Watchdog(int ranks) : thread_([this, ranks] { watch(ranks); }) {}
  ~Watchdog() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

 private:
  void watch(int ranks) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (changed_.wait_for(lock, kLimit, [&] { return over_; })) return;
    std::fprintf(stderr, "run_ranks: %d ranks did not end within %d s\n", ranks, static_cast<int>(kLimit.count()));
    std::abort();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

void run_one(comm::LoopbackWorld world, int rank, const std::function<void(int)>& body, std::string& error) {
  const std::unique_ptr<Context> mine = world.make_context(rank);
  const ContextGuard guard(mine.get());
  at::set_num_threads(1);
  try {
    body(rank);
  } catch (const c10::Error& e) {
    error = e.what_without_backtrace();
  } catch (const std::exception& e) {
    error = e.what();
  }
  world.end(rank);
}

}  // namespace

std::vector<std::string> errors_of_ranks(int n, const std::function<void(int rank)>& body,
                                         comm::LoopbackOptions options,
                                         const std::vector<comm::LoopbackFault>& faults) {
  const Watchdog watchdog(n);
  comm::LoopbackWorld world(n, std::move(options));
  for (const comm::LoopbackFault& fault : faults) world.inject(fault);
  std::vector<std::string> errors(n);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < n; ++rank) {
    threads.emplace_back([&, rank] { run_one(world, rank, body, errors[rank]); });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

void run_ranks(int n, const std::function<void(int rank)>& body, comm::LoopbackOptions options,
               const std::vector<comm::LoopbackFault>& faults) {
  const std::vector<std::string> errors = errors_of_ranks(n, body, std::move(options), faults);
  std::string message;
  for (int rank = 0; rank < n; ++rank) {
    if (!errors[rank].empty()) message += "rank " + std::to_string(rank) + ": " + errors[rank] + "\n";
  }
  if (!message.empty()) throw std::runtime_error(message);
}

}  // namespace weft::test
