#include "comm/lockstep/failures.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <thread>

#include "base/error_codes.h"
#include "comm/lockstep/error_types.h"
#include "comm/lockstep/guard.h"
#include "comm/lockstep/settle.h"
#include "comm/world/fork.h"
#include "comm/world/python_lock.h"
#include "comm/world/timeouts.h"
#include "tensor/op_history.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kShortestPause{1};  // of one that failed
// After so long a log that could not be used is tried again; ever longer, while it cannot.
constexpr milliseconds kFirstRetry{250};
constexpr milliseconds kLastRetry{10000};

}  // namespace

Failures::Failures() {
  if (context().world_size() > 1 && context().world()->getStore()) store_calls_.emplace();
}

uint64_t Failures::count(const Event& event) {
  const uint64_t fingerprint = calls_.add(guarded() ? Call::of(event) : Call{.event = event});
  OpHistory::of_thread().note_collectives(calls_.count());
  if (unsettled_.load(std::memory_order_relaxed)) [[unlikely]]
    settle();
  return fingerprint;
}

std::optional<milliseconds> Failures::patience() const {
  return finished_one_.load(std::memory_order_relaxed) ? timeouts().steady() : timeouts().first();
}

// False where the world has no store, or does not reach it: the process that keeps it may have ended.
bool Failures::use_log(c10::function_ref<void(FailureLog&)> use) {
  if (!store_calls_ || (lost_for_ && std::chrono::steady_clock::now() < lost_at_ + *lost_for_)) return false;
  try {
    if (!log_ || lost_for_) {
      log_.emplace(context().world()->getStore(), context().world_size(), *store_calls_);
      read_.clear();  // it is read from its beginning
      told_calls_ = {};
    }
    use(*log_);
    lost_for_.reset();
  } catch (const std::exception&) {
    lost_for_ = lost_for_ ? std::min(2 * *lost_for_, kLastRetry) : kFirstRetry;
    lost_at_ = std::chrono::steady_clock::now();
  }
  return !lost_for_;
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
  return store_calls_.has_value();
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
  raise_error(parted_->type,
              coded("W094", parted_->str() + " (raised on all ranks, which are out of step from here on)"));
}

void Failures::raise_parted() const {
  TORCH_CHECK(false, "[W095] the ranks are out of step since ", without_code(coded("W094", parted_->str())),
              "; they cannot communicate any more: make the process group anew, by starting the processes again");
}

namespace {

[[maybe_unused]] const bool before_split_is_set = (set_before_split([] {
                                                     check_not_forked();
                                                     auto& failures = context().state<Failures>();
                                                     failures.count({"the making of process groups", nullptr});
                                                     failures.meet();
                                                   }),
                                                   true);

}  // namespace
}  // namespace weft::comm
