#include "comm/failure.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <thread>
#include <torch/csrc/distributed/c10d/Work.hpp>
#include <vector>

#include "comm/error_types.h"
#include "comm/failure_log.h"
#include "comm/fork.h"
#include "comm/python_lock.h"
#include "comm/recent_calls.h"
#include "mesh/context.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstLook{200}, kLongestPause{1000};  // of one that waits for a collective
constexpr milliseconds kShortestPause{1};                     // of one that failed

class Failures : public ContextState {
 public:
  void count(const char* kind, Mesh mesh, int axis) {
    calls_.add(kind, mesh, axis);
    if (unsettled_.load(std::memory_order_relaxed)) [[unlikely]]
      settle();
  }
  /// A failure of this rank; whether the others can learn of it.
  bool tell(Failure failure);
  /// Raises where the ranks have parted, also in what they ask for if this one waits. False: there is no log to look
  /// at.
  bool look(bool waiting);
  /// Waits, by way of the store, until all ranks have come here.
  void meet();

 private:
  template <class Use>
  bool use_log(Use&& use);
  bool read_log();
  void settle();
  void check();
  void compare_calls();
  bool all_failed_as_often() const;
  [[noreturn]] void part(const Failure& at, bool known);
  [[noreturn]] void raise_parted() const;

  RecentCalls calls_;
  std::atomic<bool> unsettled_{false};  // failed, and it is open whether all have; or parted
  std::mutex mutex_;
  std::optional<FailureLog> log_;  // opened when first needed
  bool log_lost_ = false;
  int64_t meetings_ = 0;
  std::string told_calls_;
  std::vector<FailureLog::Entry> read_;  // what others wrote
  std::vector<Failure> mine_;
  std::optional<Failure> parted_;
};

// False where the world has no store, or has it no more: the process that keeps it may have ended.
template <class Use>
bool Failures::use_log(Use&& use) {
  if (log_lost_) return false;
  try {
    if (!log_) {
      const auto store = context().world()->getStore();
      log_lost_ = !store;
      if (log_lost_) return false;
      log_.emplace(*store);
    }
    use(*log_);
  } catch (const std::exception&) {
    log_lost_ = true;
  }
  return !log_lost_;
}

bool Failures::read_log() {
  return use_log([&](FailureLog& log) {
    while (auto entry = log.read()) {
      if (entry->writer != context().rank()) read_.push_back(std::move(*entry));
    }
  });
}

bool Failures::tell(Failure failure) {
  std::lock_guard<std::mutex> lock(mutex_);
  failure.rank = context().rank();
  failure.collectives = calls_.count();
  if (!use_log([&](FailureLog& log) { log.write({failure.rank, false, failure}); })) return false;
  mine_.push_back(std::move(failure));
  unsettled_.store(true, std::memory_order_relaxed);
  return true;
}

bool Failures::look(bool waiting) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!read_log()) return false;
  check();
  if (waiting) compare_calls();
  return !log_lost_;
}

void Failures::meet() {
  const WithoutPythonLock unlocked;
  std::lock_guard<std::mutex> lock(mutex_);
  const int64_t meeting = meetings_++;
  if (!use_log([&](FailureLog& log) { log.come_to(meeting); })) return;
  const auto deadline = std::chrono::steady_clock::now() + log_->patience();
  for (milliseconds pause = kShortestPause; std::chrono::steady_clock::now() < deadline;
       pause = std::min(2 * pause, kFirstLook)) {
    int64_t come = 0;
    if (!use_log([&](FailureLog& log) { come = log.have_come_to(meeting); })) return;
    if (come >= context().world_size()) return;
    if (read_log()) check();
    if (pause >= kFirstLook) compare_calls();
    std::this_thread::sleep_for(pause);
  }
}

// Before a collective of a rank that failed: goes on when all ranks have failed as it has.
void Failures::settle() {
  const WithoutPythonLock unlocked;
  std::lock_guard<std::mutex> lock(mutex_);
  if (parted_) raise_parted();
  const auto deadline = std::chrono::steady_clock::now() + log_->patience();
  for (milliseconds pause = kShortestPause;; pause = std::min(2 * pause, kFirstLook)) {
    const bool there = read_log();
    check();
    if (all_failed_as_often()) break;
    if (!there || std::chrono::steady_clock::now() > deadline) part(mine_.back(), false);
    std::this_thread::sleep_for(pause);
  }
  unsettled_.store(false, std::memory_order_relaxed);
}

// The n-th failures of all ranks are the same one, or will be: a rank may still be on its way to it.
void Failures::check() {
  const int64_t passed = calls_.count();
  std::vector<size_t> count(context().world_size());
  for (const FailureLog::Entry& e : read_) {
    if (e.parted) part(e.failure, true);
    const size_t n = count[e.writer]++;
    if (n >= mine_.size()) {
      if (e.failure.collectives < passed) part(e.failure, false);
    } else if (!e.failure.same_point(mine_[n])) {
      part(e.failure.collectives <= mine_[n].collectives ? e.failure : mine_[n], false);
    }
  }
}

// By one that has waited for long. The first to see a difference writes it into the log, for all to raise the same.
void Failures::compare_calls() {
  const std::string mine = calls_.text();
  std::optional<RecentCalls::Difference> first;
  int64_t other = 0;
  bool is_first = false;
  use_log([&](FailureLog& log) {
    if (mine != told_calls_) log.write_calls(context().rank(), mine);
    told_calls_ = mine;
    for (int64_t r = 0; r < context().world_size(); ++r) {
      if (r == context().rank()) continue;
      const auto difference = RecentCalls::first_difference(mine, log.calls_of(r));
      if (!difference || (first && first->number <= difference->number)) continue;
      first = difference;
      other = r;
    }
    is_first = first && log.first_to_see_difference();
  });
  if (!is_first) return;
  const int64_t rank = context().rank();
  const std::string lower = c10::str(rank < other ? first->mine : first->theirs, " on rank ", std::min(rank, other));
  const std::string upper = c10::str(rank < other ? first->theirs : first->mine, " on rank ", std::max(rank, other));
  part({.rank = -1,
        .collectives = first->number,
        .op = "",
        .type = "ValueError",
        .message = c10::str("the ranks ask for different collectives: ", lower, ", but ", upper,
                            "; all ranks must run the same ops, on the same layouts and shapes")},
       false);
}

bool Failures::all_failed_as_often() const {
  std::vector<size_t> count(context().world_size());
  for (const FailureLog::Entry& e : read_) ++count[e.writer];
  count[context().rank()] = mine_.size();
  return std::all_of(count.begin(), count.end(), [&](size_t n) { return n >= mine_.size(); });
}

void Failures::part(const Failure& at, bool known) {
  parted_ = at;
  unsettled_.store(true, std::memory_order_relaxed);
  const int64_t rank = context().rank();
  // For one that failed and waits to hear whether all have.
  if (!known) use_log([&](FailureLog& log) { log.write({rank, true, *parted_}); });
  if (at.rank == rank) raise_parted();
  raise_error(parted_->type, parted_->str() + " (raised on all ranks, which are out of step from here on)");
}

void Failures::raise_parted() const {
  TORCH_CHECK(false, "the ranks are out of step since ", parted_->str(),
              "; they cannot communicate any more: make the process group anew, by starting the processes again");
}

[[maybe_unused]] const bool before_split_is_set = (set_before_split([] {
                                                     check_not_forked();
                                                     auto& failures = context().state<Failures>();
                                                     failures.count("the making of process groups", nullptr, 0);
                                                     failures.meet();
                                                   }),
                                                   true);

}  // namespace

void tell_failure(const std::string& op) {
  if (context().world_size() == 1 || is_forked()) return;
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
  const bool told = context().state<Failures>().tell(std::move(failure));
  if (told && error) error->add_context(c10::str("[", op, "] failed on this rank's part; the other ranks are told"));
}

void count_collective(const char* kind, Mesh mesh, int axis) { context().state<Failures>().count(kind, mesh, axis); }

void look_for_failures() { context().state<Failures>().look(/*waiting=*/false); }

void wait_for(c10d::Work& work, bool watch) {
  check_not_forked();
  auto& failures = context().state<Failures>();
  for (milliseconds pause = kFirstLook; watch; pause = std::min(2 * pause, kLongestPause)) {
    try {
      work.wait(pause);
      return;
    } catch (const std::exception&) {
      // Not done in time, or broken: perhaps as the ranks that failed have ended.
    }
    const bool over = work.isCompleted();
    watch = failures.look(/*waiting=*/!over) && !over;
  }
  work.wait();
}

}  // namespace weft::comm
