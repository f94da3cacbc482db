#include "comm/lockstep/parted.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <set>

namespace weft::comm {
namespace {

constexpr const char* kSameEverywhere = "all ranks must run the same ops, on the same layouts, shapes and values";

Failure failure_of_all(int64_t number, std::string type, std::string message) {
  return {.rank = -1, .collectives = number, .op = "", .type = std::move(type), .message = std::move(message)};
}

}  // namespace

std::string named(const std::vector<int64_t>& ranks) {
  return c10::str(ranks.size() == 1 ? "rank " : "ranks ", c10::Join(", ", ranks));
}

std::vector<int64_t> looked_at_by(int64_t rank, int64_t ranks) {
  std::set<int64_t> out;
  for (int64_t distance = 1; distance < ranks; distance *= 2) {
    out.insert((rank + distance) % ranks);
    out.insert((rank - distance + ranks) % ranks);
  }
  out.erase(rank);
  return {out.begin(), out.end()};
}

std::vector<int64_t> waited_for(const Call& call, int64_t rank, int64_t world_size) {
  const Mesh mesh = call.event.mesh;
  if (mesh == nullptr) return looked_at_by(rank, world_size);
  const std::vector<int64_t> coordinates = mesh->coordinates_of(rank);
  int64_t start = 0, stride = 1;
  for (int axis = mesh->ndim() - 1; axis >= 0; --axis) {
    if (axis == call.event.axis) continue;
    int64_t inner = 1;
    for (int a = axis + 1; a < mesh->ndim(); ++a) inner *= mesh->axis_size(a);
    start += coordinates[axis] * inner;
  }
  for (int a = call.event.axis + 1; a < mesh->ndim(); ++a) stride *= mesh->axis_size(a);
  std::vector<int64_t> out;
  for (int64_t i : looked_at_by(coordinates[call.event.axis], mesh->axis_size(call.event.axis))) {
    out.push_back(mesh->ranks()[start + i * stride]);
  }
  return out;
}

Failure differing(const RecentCalls::Difference& difference, const std::string& first_op, int64_t rank, int64_t other) {
  const std::string lower =
      c10::str(rank < other ? difference.mine : difference.theirs, " on rank ", std::min(rank, other));
  const std::string upper =
      c10::str(rank < other ? difference.theirs : difference.mine, " on rank ", std::max(rank, other));
  return failure_of_all(
      difference.number, "ValueError",
      c10::str("[W091] the ranks ask for different collectives, number ", difference.number, ": ", lower, ", but ",
               upper, difference.same_words ? ", of another value" : "", first_op, "; ", kSameEverywhere));
}

Failure missing(const std::vector<int64_t>& ranks, int64_t number, const Call& call, const std::string& before,
                const std::string& why) {
  return failure_of_all(
      number, "RuntimeError",
      c10::str("[W092] ", named(ranks), ranks.size() == 1 ? " has" : " have", " not come to collective number ", number,
               ", ", call.str(), ", and may have ended or be stuck; last seen in ",
               before.empty() ? "the beginning" : before, " (", reason(why), ")"));
}

Failure broken(int64_t number, const Call& call, const std::string& why) {
  return failure_of_all(
      number, "RuntimeError",
      c10::str("[W093] collective number ", number, ", ", call.str(), ", cannot be finished: ", reason(why)));
}

std::string reason(const std::string& what) {
  std::string line = what.substr(0, what.find('\n'));
  const size_t bracket = line.find("] ");
  if (line.rfind('[', 0) == 0 && bracket != std::string::npos) line = line.substr(bracket + 2);
  return line.substr(0, line.find(". This is typically"));
}

}  // namespace weft::comm
