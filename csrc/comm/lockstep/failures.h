#pragma once
// What a rank knows of its own failures and of the others', and whether the ranks have parted. Internal to comm/; what
// it is for: comm/lockstep/failure.h.
#include <c10/util/FunctionRef.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "comm/lockstep/event.h"
#include "comm/lockstep/failure_log.h"
#include "comm/lockstep/recent_calls.h"
#include "comm/lockstep/timed_calls.h"
#include "mesh/context.h"

namespace weft::comm {

/// One that waits for a collective looks for the first time at what the others tell.
constexpr std::chrono::milliseconds kFirstLook{200};

class Failures : public ContextState {
 public:
  Failures();
  /// The collective's fingerprint. Raises where the ranks have parted.
  uint64_t count(const Event& event);
  uint64_t rolled() const { return calls_.rolled(); }
  void finished_one() { finished_one_.store(true, std::memory_order_relaxed); }
  /// How long a collective may take; none: as long as the backend waits.
  std::optional<std::chrono::milliseconds> patience() const;
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
  // All that follow are called with the mutex held.
  bool use_log(c10::function_ref<void(FailureLog&)> use);
  bool read_log();
  void check();
  bool all_failed_as_often() const;
  void compare_calls();
  std::vector<int64_t> not_come(const Call& call, int64_t number);
  [[noreturn]] void part(const Failure& at, bool known);
  [[noreturn]] void raise_parted() const;

  void settle();

  RecentCalls calls_;
  std::atomic<bool> finished_one_{false};
  std::atomic<bool> unsettled_{false};  // failed, and it is open whether all have; or parted
  std::mutex mutex_;
  std::optional<TimedCalls> store_calls_;              // none: there is no store
  std::optional<FailureLog> log_;                      // opened when first needed
  std::optional<std::chrono::milliseconds> lost_for_;  // set: the log cannot be used, and is left alone for so long
  std::chrono::steady_clock::time_point lost_at_;
  int64_t meetings_ = 0;
  FailureLog::Calls told_calls_;
  int64_t warned_at_ = -1;               // number of the collective
  std::vector<FailureLog::Entry> read_;  // what others wrote
  std::vector<Failure> mine_;
  std::optional<Failure> parted_;
};

}  // namespace weft::comm
