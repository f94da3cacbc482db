#include "tensor/op_history.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <sstream>
#include <utility>

#include "mesh/context.h"

namespace weft {
namespace {

struct Told {
  std::string name;
  uint64_t tensors = 0, values = 0, plain = 0;
  std::string plain_operand;
  bool operator==(const Told&) const = default;
};
// Ops by the number of collectives before them, and their number since.
using Ops = std::map<std::pair<int64_t, int64_t>, Told>;

// Of one rank, whichever of its threads is at work.
struct Places : ContextState {
  std::mutex mutex;
  uint64_t collectives = 0, since = 0;
};

Ops parse(const std::string& text) {
  Ops ops;
  std::istringstream in(text);
  std::pair<int64_t, int64_t> place;
  for (Told t; in >> place.first >> place.second >> t.name >> t.tensors >> t.values >> t.plain >> t.plain_operand;) {
    ops[place] = t;
  }
  return ops;
}

}  // namespace

OpHistory& OpHistory::of_thread() {
  static thread_local OpHistory history;
  return history;
}

void OpHistory::note_collectives(int64_t count) {
  collectives_ = count;
  since_ = 0;
  auto& places = context().state<Places>();
  std::lock_guard<std::mutex> lock(places.mutex);
  places.collectives = static_cast<uint64_t>(count);
  places.since = 0;
}

uint64_t OpHistory::new_place() {
  auto& places = context().state<Places>();
  std::lock_guard<std::mutex> lock(places.mutex);
  return mix(places.collectives, places.since++);
}

std::string OpHistory::text() const {
  std::string text;
  for (int64_t i = std::max<int64_t>(0, count_ - kKept); i < count_; ++i) {
    const Op& op = last_[i % kKept];
    text += c10::str(op.collectives, ' ', op.since, ' ', op.name, ' ', op.tensors, ' ', op.values, ' ', op.plain, ' ',
                     op.plain_operand == nullptr ? "-" : op.plain_operand, '\n');
  }
  return text;
}

std::string OpHistory::first_difference(const std::string& mine, const std::string& theirs, int64_t my_rank,
                                        int64_t their_rank) {
  const Ops others = parse(theirs);
  for (const auto& [place, op] : parse(mine)) {
    const auto found = others.find(place);
    if (found == others.end() || found->second == op) continue;
    const Told& other = found->second;
    if (op.name != other.name) {
      const bool first = my_rank < their_rank;
      return c10::str("; before that rank ", std::min(my_rank, their_rank), " ran [", first ? op.name : other.name,
                      "] where rank ", std::max(my_rank, their_rank), " ran [", first ? other.name : op.name, "]");
    }
    if (op.name == OpHistory::kRandom) return "; before that their random generators were in different states";
    const std::string what =
        op.tensors != other.tensors ? "its sharded operands are not the same values"
        : op.plain != other.plain
            ? c10::str("its operand '", op.plain != 0 ? op.plain_operand : other.plain_operand,
                       "', a plain tensor, has other values on rank ", their_rank, " than on rank ", my_rank)
            : "its arguments that are not tensors differ";
    return c10::str("; they first differ in [", op.name, "]: ", what);
  }
  return {};
}

}  // namespace weft
