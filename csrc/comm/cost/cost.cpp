#include "comm/cost/cost.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <weft/cost.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>

#include "base/quote.h"
#include "comm/agree/agree_or_throw.h"
#include "comm/agree/settings.h"
#include "mesh/context.h"

namespace weft::comm {
namespace {

constexpr Ticks kLatency = 200'000;  // 20 us; a byte is one tick

// The costs that one rank knows. A mesh's entry never changes once it is there: plans and routes that were made by it
// stay.
struct Costs : ContextState {
  std::mutex mutex;
  std::map<Mesh, std::unique_ptr<const MeshCost>> of;
};

MeshCost from_file(const std::string& path, Mesh mesh) {
  const std::string what = "the cost file that WEFT_COST names";
  std::string text;
  MeshCost cost = agree_or_throw(what, mesh->is_simulated() ? mesh : nullptr, [&] {
    std::ifstream file(path, std::ios::binary);
    std::stringstream read;
    read << file.rdbuf();
    TORCH_CHECK_VALUE(file.good(), "[W110] WEFT_COST=", quote(path),
                      " cannot be read; it is to be 'measure', 'fixed', or ",
                      "the path of a file that weft.cost(mesh).save(path) has written");
    text = read.str();
    return cost_from_json(text, path, mesh);
  });
  if (!mesh->is_simulated()) check_same({text.begin(), text.end()}, what, nullptr);
  return cost;
}

// What WEFT_COST says, read once, and compared between the ranks before any mesh is used.
const std::string& mode() {
  static const std::string mode = [] {
    const char* set = std::getenv("WEFT_COST");
    const std::string text = set == nullptr || *set == '\0' ? "fixed" : set;
    register_uniform_setting("WEFT_COST", text == "fixed" ? "" : text);
    return text;
  }();
  return mode;
}
[[maybe_unused]] const bool mode_is_noted = !mode().empty();

MeshCost make(Mesh mesh) {
  const bool alone = std::all_of(mesh->shape().begin(), mesh->shape().end(), [](int64_t n) { return n == 1; });
  if (alone || mode() == "fixed") return MeshCost::fixed(mesh);
  if (mode() == "measure") return mesh->is_simulated() ? MeshCost::fixed(mesh) : measure_cost(mesh);
  return from_file(mode(), mesh);
}

}  // namespace

AxisCost::AxisCost(int64_t ranks, const Table& table) : ranks_(ranks), measured_(true), table_(table) {
  for (auto& times : table_) {
    // Other work on the machine only ever adds: where a smaller buffer took longer, that is why.
    for (size_t i = times.size() - 1; i-- > 0;) times[i] = std::min(times[i], times[i + 1]);
  }
}

Ticks AxisCost::of(Moves moves, int64_t bytes) const {
  if (!measured_) {
    const int64_t sent = bytes / ranks_ * (ranks_ - 1);
    return kLatency + (moves == Moves::all_reduce ? 2 * sent : sent);
  }
  const auto& times = table_[static_cast<size_t>(moves)];
  if (bytes <= kSizes[0]) return times[0];
  size_t i = 1;
  while (i + 1 < kSizes.size() && bytes > kSizes[i]) ++i;
  const Ticks rise = times[i] - times[i - 1];
  const int64_t run = kSizes[i] - kSizes[i - 1], beyond = bytes - kSizes[i - 1];
  return times[i - 1] + beyond / run * rise + beyond % run * rise / run;
}

Ticks AxisCost::least() const {
  Ticks least = of(Moves::all_gather, 0);
  for (size_t m = 1; m < kMoves.size(); ++m) least = std::min(least, of(static_cast<Moves>(m), 0));
  return least;
}

MeshCost MeshCost::fixed(Mesh mesh) {
  MeshCost cost;
  for (int64_t n : mesh->shape()) cost.axes.emplace_back(n);
  return cost;
}

const MeshCost& cost_of(Mesh mesh) {
  Costs& costs = context().state<Costs>();
  {
    const std::lock_guard<std::mutex> lock(costs.mutex);
    if (const auto found = costs.of.find(mesh); found != costs.of.end()) return *found->second;
  }
  // Not under the lock: measuring runs collectives.
  auto made = std::make_unique<const MeshCost>(make(mesh));
  const std::lock_guard<std::mutex> lock(costs.mutex);
  return *costs.of.try_emplace(mesh, std::move(made)).first->second;
}

}  // namespace weft::comm

namespace weft {

double collective_seconds(Mesh mesh, const std::string& kind, const std::string& axis, int64_t bytes) {
  const auto found = std::find(comm::kMoves.begin(), comm::kMoves.end(), kind);
  TORCH_CHECK_VALUE(found != comm::kMoves.end(), "[W029] collective_seconds: no kind ", quote(kind), "; known are ",
                    c10::Join(", ", comm::kMoves));
  TORCH_CHECK_VALUE(bytes >= 0, "[W039] collective_seconds: ", bytes, " bytes");
  const comm::AxisCost& links = comm::cost_of(mesh).axes[mesh->axis(axis)];
  const auto moves = static_cast<comm::Moves>(found - comm::kMoves.begin());
  return links.ranks() == 1 ? 0 : static_cast<double>(links.of(moves, bytes)) * comm::kSecondsPerTick;
}

std::string cost(Mesh mesh) { return comm::to_json(comm::cost_of(mesh), mesh); }

}  // namespace weft
