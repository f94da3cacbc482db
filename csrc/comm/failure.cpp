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
#include "comm/guard.h"
#include "comm/parted.h"
#include "comm/python_lock.h"
#include "comm/recent_calls.h"
#include "comm/settle.h"
#include "comm/timeouts.h"
#include "debug/log.h"
#include "mesh/context.h"
#include "tensor/op_history.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstLook{200}, kLongestPause{1000};  // of one that waits for a collective
constexpr milliseconds kOften{1000};                          // for so long it looks again after kFirstLook
constexpr milliseconds kShortestPause{1};                     // of one that failed
constexpr milliseconds kLostLook{50}, kLostPatience{600};     // of one whose backend gave up: others tell at kFirstLook
constexpr milliseconds kLostLog{10000};                       // it is tried again after that
constexpr milliseconds kStraggler{5000};                      // is warned of then

thread_local uint64_t last_asked = 0;

class Failures : public ContextState {
 public:
  void count(const Event& event) {
    last_asked = calls_.add(guarded() ? Call::of(event) : Call{.event = event});
    OpHistory::of_thread().note_collectives(calls_.count());
    if (unsettled_.load(std::memory_order_relaxed)) [[unlikely]]
      settle();
  }
  uint64_t rolled() const { return calls_.rolled(); }
  void finished_one() { finished_one_.store(true, std::memory_order_relaxed); }
  /// How long a collective may take.
  milliseconds patience() const {
    return finished_one_.load(std::memory_order_relaxed) ? timeouts().steady() : timeouts().first();
  }
  /// A failure of this rank; whether the others can learn of it. False too where the ranks have parted: all raise that.
  bool tell(Failure failure, bool in_collective);
  /// Raises where the ranks have parted, also in what they ask for if this one waits. False: there is no log to look
  /// at.
  bool look(bool waiting);
  [[noreturn]] void lose(const std::string& why);
  void warn_of_stragglers();
  /// Waits, by way of the store, until all ranks have come here.
  void meet();

 private:
  template <class Use>
  bool use_log(Use&& use);
  bool read_log();
  void settle();
  void check();
  void compare_calls();
  std::vector<int64_t> not_come(const Call& call, int64_t number);
  bool all_failed_as_often() const;
  [[noreturn]] void part(const Failure& at, bool known);
  [[noreturn]] void raise_parted() const;

  RecentCalls calls_;
  std::atomic<bool> finished_one_{false};
  std::atomic<bool> unsettled_{false};  // failed, and it is open whether all have; or parted
  std::mutex mutex_;
  std::optional<FailureLog> log_;  // opened when first needed
  bool no_store_ = false, log_lost_ = false;
  std::chrono::steady_clock::time_point lost_at_;
  int64_t meetings_ = 0;
  FailureLog::Calls told_calls_;
  int64_t warned_at_ = -1;               // number of the collective
  std::vector<FailureLog::Entry> read_;  // what others wrote
  std::vector<Failure> mine_;
  std::optional<Failure> parted_;
};

// False where the world has no store, or does not reach it: the process that keeps it may have ended.
template <class Use>
bool Failures::use_log(Use&& use) {
  if (no_store_ || (log_lost_ && std::chrono::steady_clock::now() < lost_at_ + kLostLog)) return false;
  try {
    if (!log_ || log_lost_) {
      const auto store = context().world()->getStore();
      no_store_ = !store;
      if (no_store_) return false;
      log_.emplace(store, context().world_size());
      read_.clear();  // it is read from its beginning
      told_calls_ = {};
    }
    use(*log_);
    log_lost_ = false;
  } catch (const std::exception&) {
    log_lost_ = true;
    lost_at_ = std::chrono::steady_clock::now();
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

bool Failures::tell(Failure failure, bool in_collective) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (parted_) return false;
  failure.rank = context().rank();
  failure.collectives = calls_.count() - (in_collective ? 1 : 0);
  if (!use_log([&](FailureLog& log) { log.write({failure.rank, false, failure}); })) return false;
  mine_.push_back(std::move(failure));
  unsettled_.store(true, std::memory_order_relaxed);
  return true;
}

bool Failures::look(bool waiting) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (read_log()) {
    check();
    if (waiting) compare_calls();
  }
  return !no_store_;
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
  const auto call = calls_.last();
  if (!call) return;
  const FailureLog::Calls mine{calls_.text(), OpHistory::of_thread().text()};
  const int64_t rank = context().rank(), ranks = context().world_size();
  std::vector<int64_t> others = looked_at_by(rank, ranks);
  for (int64_t r : waited_for(*call, rank, ranks)) others.push_back(r);
  std::optional<RecentCalls::Difference> first;
  std::string first_op;
  int64_t other = 0;
  bool is_first = false;
  use_log([&](FailureLog& log) {
    if (mine.collectives != told_calls_.collectives) log.write_calls(rank, mine);
    told_calls_ = mine;
    for (int64_t r : others) {
      const FailureLog::Calls theirs = log.calls_of(r);
      const auto difference = calls_.first_difference(theirs.collectives, r);
      if (!difference || (first && first->number <= difference->number)) continue;
      first = difference;
      first_op = OpHistory::first_difference(mine.ops, theirs.ops, rank, r);
      other = r;
    }
    is_first = first && log.first_to_see_difference();
  });
  if (is_first) part(differing(*first, first_op, rank, other), false);
}

// Of those that this rank waits for and looks at.
std::vector<int64_t> Failures::not_come(const Call& call, int64_t number) {
  std::vector<int64_t> out;
  use_log([&](FailureLog& log) {
    for (int64_t r : waited_for(call, context().rank(), context().world_size())) {
      if (RecentCalls::count_in(log.calls_of(r).collectives) <= number) out.push_back(r);
    }
  });
  return out;
}

// The others, which wait too, tell how far they are; who does not is missing.
void Failures::lose(const std::string& why) {
  const WithoutPythonLock unlocked;
  std::lock_guard<std::mutex> lock(mutex_);
  if (parted_) raise_parted();
  const int64_t number = calls_.count() - 1;
  const Call call = calls_.last().value_or(Call{});
  const auto deadline = std::chrono::steady_clock::now() + kLostPatience;
  while (read_log() && std::chrono::steady_clock::now() < deadline) {
    check();
    compare_calls();
    std::this_thread::sleep_for(kLostLook);
  }
  if (log_lost_) {
    part(broken(number, call,
                c10::str(reason(why),
                         "; the job's store, which rank 0 or torchrun keeps, is gone too or cannot be reached")),
         true);
  }
  const std::vector<int64_t> ranks = not_come(call, number);
  if (ranks.empty()) part(broken(number, call, why), false);
  part(missing(ranks, number, call, calls_.before_last(), why), false);
}

void Failures::warn_of_stragglers() {
  std::lock_guard<std::mutex> lock(mutex_);
  const int64_t number = calls_.count() - 1;
  const auto call = calls_.last();
  if (!call || warned_at_ == number) return;
  warned_at_ = number;
  const std::vector<int64_t> ranks = not_come(*call, number);
  if (ranks.empty()) return;
  log(LogLevel::warning, "waiting for ", ranks.size() == 1 ? "rank " : "ranks ", c10::Join(", ", ranks),
      " in collective number ", number, ", ", call->str());
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
  abort_untagged();
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
                                                     failures.count({"the making of process groups", nullptr});
                                                     failures.meet();
                                                   }),
                                                   true);

}  // namespace

void tell_failure(const std::string& op, bool in_collective) {
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
  const bool told = context().state<Failures>().tell(std::move(failure), in_collective);
  if (told && error) error->add_context(c10::str("[", op, "] failed on this rank's part; the other ranks are told"));
}

void count_collective(const Event& event) { context().state<Failures>().count(event); }

uint64_t asked() { return last_asked; }

uint64_t all_asked() { return context().state<Failures>().rolled(); }

void raise_lost(const std::string& why) { context().state<Failures>().lose(why); }

void wait_for(c10d::Work& work, bool watch) {
  check_not_forked();
  auto& failures = context().state<Failures>();
  const auto begun = std::chrono::steady_clock::now();
  for (milliseconds pause = kFirstLook; watch;) {
    try {
      work.wait(pause);
      return failures.finished_one();
    } catch (const std::exception&) {
      // Not done in time, or given up.
    }
    if (work.isCompleted()) break;
    watch = failures.look(/*waiting=*/true);
    const auto waited = std::chrono::steady_clock::now() - begun;
    if (waited > failures.patience()) raise_lost(c10::str("not done after ", failures.patience().count() / 1e3, " s"));
    if (waited > kOften) pause = std::min(2 * pause, kLongestPause);
    if (waited > kStraggler) failures.warn_of_stragglers();
  }
  try {
    work.wait();
  } catch (const std::exception& e) {
    raise_lost(e.what());
  }
  failures.finished_one();
}

}  // namespace weft::comm
