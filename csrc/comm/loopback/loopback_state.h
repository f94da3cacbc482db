#pragma once
// What the ranks of a loopback world share. Internal to comm/loopback.
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "comm/loopback/loopback.h"
#include "comm/loopback/loopback_call.h"

namespace weft::comm {

// One collective of one group.
struct OpenCollective {
  std::vector<int> ranks;  // of the group, in the world
  int64_t number;          // in the group
  std::vector<std::optional<LoopbackCall>> calls;
  size_t arrived = 0;
  bool done = false;

  std::string str() const {
    std::string first;
    for (const auto& call : calls) {
      if (call && first.empty()) first = call->str();
    }
    return c10::str(first.empty() ? "a collective" : first, " (number ", number, " of the group of ranks ",
                    c10::Join(", ", ranks), ")");
  }
  std::vector<int> who(bool came) const {
    std::vector<int> out;
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (calls[i].has_value() == came) out.push_back(ranks[i]);
    }
    return out;
  }
};

struct Hub {
  std::vector<int> ranks;
  // Open ones by kind and tag, as Gloo matches messages; where they have none, by number.
  std::map<std::pair<int, int64_t>, std::shared_ptr<OpenCollective>> open;
};

struct LoopbackWorld::State {
  State(int size, LoopbackOptions options)
      : size(size),
        options(std::move(options)),
        store(this->options.store),
        issued(size),
        last(size, "none"),
        asked(size) {
    if (!store) store = c10::make_intrusive<c10d::HashStore>();
    if (this->options.backend == "gloo") return;
    LoopbackOptions tagged = this->options;
    tagged.backend = "gloo";
    side = std::make_shared<State>(size, std::move(tagged));
  }

  const int size;
  const LoopbackOptions options;
  c10::intrusive_ptr<c10d::Store> store;
  std::shared_ptr<State> side;  // beside backends without tags: one that has them
  std::mutex mutex;
  std::condition_variable changed;
  std::string error;              // what every rank gets from now on
  std::vector<int64_t> issued;    // collectives, by rank
  std::vector<std::string> last;  // collective, by rank
  std::set<int> ended;
  std::vector<LoopbackFault> faults;
  std::vector<std::map<std::vector<int>, int>> asked;                     // groups of some ranks asked for, by rank
  std::map<std::pair<std::vector<int>, int>, std::shared_ptr<Hub>> hubs;  // and which of them

  // Called with the lock held.
  [[noreturn]] void fail(std::string message) {
    if (error.empty()) error = std::move(message);
    changed.notify_all();
    raise();
  }
  [[noreturn]] void raise() const { TORCH_CHECK_WITH(DistBackendError, false, "loopback: ", error); }
  void check_ended(const OpenCollective& collective) {
    for (int rank : collective.who(false)) {
      if (ended.count(rank) > 0) fail(c10::str(collective.str(), " waits for rank ", rank, ", which has ended"));
    }
  }

  std::optional<LoopbackFault> next_fault(int rank) {
    const int64_t number = issued[rank]++;
    for (const LoopbackFault& fault : faults) {
      if (fault.rank == rank && fault.collective == number) return fault;
    }
    return std::nullopt;
  }
};

/// The rank's end of a group, whose collectives meet in the hub; `position`: in the group.
c10::intrusive_ptr<c10d::Backend> loopback_backend(std::shared_ptr<LoopbackWorld::State> state,
                                                   std::shared_ptr<Hub> hub, int rank, int position);

}  // namespace weft::comm
