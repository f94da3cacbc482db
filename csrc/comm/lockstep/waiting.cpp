// Ranks that wait for a collective: when they look at the others' calls, and what they say of who does not come.
#include <c10/util/StringUtil.h>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include <algorithm>
#include <thread>

#include "comm/lockstep/failure.h"
#include "comm/lockstep/failures.h"
#include "comm/lockstep/parted.h"
#include "comm/world/connections.h"
#include "comm/world/fork.h"
#include "comm/world/python_lock.h"
#include "mesh/log.h"
#include "tensor/op_history.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLongestPause{1000};                // between two looks
constexpr milliseconds kOften{1000};                       // for so long they are kFirstLook apart
constexpr milliseconds kLostLook{50}, kLostPatience{600};  // of one whose backend gave up: others tell at kFirstLook
constexpr milliseconds kStraggler{5000};                   // is warned of then
// How long a collective may still take after connections have ended. A rank that has all its data may leave; when all
// others have, what is left is this rank's own work, else the others' with each other.
constexpr milliseconds kAllEnded{2000}, kSomeEnded{30000};

// Of one collective that takes long.
class Ended {
 public:
  /// Why it will not be done; empty: it may be.
  std::string why(c10d::Backend& backend) {
    const Connections connections = connections_of(backend);
    const auto now = std::chrono::steady_clock::now();
    if (connections.ended.size() != ended_) {
      ended_ = connections.ended.size();
      since_ = now;
    }
    const bool all = static_cast<int64_t>(ended_) == connections.all;
    if (ended_ == 0 || now - since_ < (all ? kAllEnded : kSomeEnded)) return "";
    return "the connection to " + named(connections.ended) + " has ended";
  }

 private:
  size_t ended_ = 0;
  std::chrono::steady_clock::time_point since_;
};

}  // namespace

// Called by one that has waited for long. The first to see a difference writes it into the log, for all to raise the
// same.
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

// The ranks that have not come, of those that this one waits for and looks at.
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
  if (lost_for_) lost_for_ = milliseconds{0};  // it is asked once more, however lately it did not answer
  const auto deadline = std::chrono::steady_clock::now() + kLostPatience;
  while (read_log() && std::chrono::steady_clock::now() < deadline) {
    check();
    compare_calls();
    std::this_thread::sleep_for(kLostLook);
  }
  if (lost_for_) {
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
  log(LogLevel::warning, "[W096] waiting for ", named(ranks), " in collective number ", number, ", ", call->str());
}

void raise_lost(const std::string& why) { context().state<Failures>().lose(why); }

void wait_for(c10d::Work& work, c10d::Backend* watched) {
  check_not_forked();
  auto& failures = context().state<Failures>();
  const auto begun = std::chrono::steady_clock::now();
  Ended ended;
  for (milliseconds pause = kFirstLook; watched != nullptr;) {
    try {
      work.wait(pause);
      return failures.finished_one();
    } catch (const std::exception&) {
      // Not done in time, or given up.
    }
    if (work.isCompleted()) break;
    const bool has_log = failures.look(/*waiting=*/true);
    const auto waited = std::chrono::steady_clock::now() - begun;
    const auto patience = failures.patience();
    if (patience && waited > *patience) raise_lost(c10::str("not done after ", patience->count() / 1e3, " s"));
    if (waited > kOften) pause = std::min(2 * pause, kLongestPause);
    if (waited > kStraggler) failures.warn_of_stragglers();
    if (const std::string why = waited > kOften ? ended.why(*watched) : ""; !why.empty()) raise_lost(why);
    if (!has_log) break;
  }
  try {
    work.wait();
  } catch (const std::exception& e) {
    raise_lost(e.what());
  }
  failures.finished_one();
}

}  // namespace weft::comm
