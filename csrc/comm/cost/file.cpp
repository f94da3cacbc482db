// MeshCost <-> JSON: whole nanoseconds, so that what is read is what was written on every rank.
#include <c10/util/Exception.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <string>

#include "comm/cost/cost.h"
#include "paths/json_reader.h"

namespace weft::comm {
namespace {

constexpr const char* kVersionKey = "weft_cost";
constexpr const char* kProductsKey = "products_per_second";
constexpr const char* kMemoryKey = "memory_bytes_per_second";
constexpr int64_t kVersion = 1;
constexpr Ticks kTicksPerNanosecond = 10;

struct Reader : JsonReader {
  int64_t positive(const JsonValue& value, const std::string& what) const {
    if (value.kind != JsonValue::integer || value.number <= 0 || value.number > int64_t{1} << 50) {
      fail(value, what + " must be a whole number from 1 to 2^50");
    }
    return value.number;
  }
  AxisCost axis(const JsonValue& object, int64_t ranks) const {
    const JsonValue& written = need(object, "ranks", JsonValue::integer);
    if (written.number != ranks) {
      fail(written, c10::str("the axis has ", ranks, " ranks here, and had ", written.number, " when it was measured"));
    }
    AxisCost::Table table{};
    for (size_t m = 0; m < kMoves.size(); ++m) {
      const JsonValue& times = need(object, kMoves[m], JsonValue::array);
      if (times.items.size() != AxisCost::kSizes.size()) {
        fail(times, c10::str("expected ", AxisCost::kSizes.size(), " times"));
      }
      for (size_t i = 0; i < times.items.size(); ++i) {
        table[m][i] = positive(times.items[i], "a time in nanoseconds") * kTicksPerNanosecond;
      }
    }
    return AxisCost(ranks, table);
  }
};

}  // namespace

std::string to_json(const MeshCost& cost, Mesh mesh) {
  nlohmann::ordered_json axes = nlohmann::ordered_json::object();
  for (int a = 0; a < mesh->ndim(); ++a) {
    if (mesh->axis_size(a) == 1) continue;
    nlohmann::ordered_json& axis = axes[mesh->axis_name(a)];
    axis["ranks"] = mesh->axis_size(a);
    for (size_t m = 0; m < kMoves.size(); ++m) {
      for (int64_t size : AxisCost::kSizes) {
        const Ticks ticks = cost.axes[a].of(static_cast<Moves>(m), size);
        axis[kMoves[m]].push_back(std::max<Ticks>(1, ticks / kTicksPerNanosecond));
      }
    }
  }
  const nlohmann::ordered_json all = {{kVersionKey, kVersion},
                                      {"source", cost.source},
                                      {"bytes", AxisCost::kSizes},
                                      {kProductsKey, std::llround(1 / cost.seconds_per_product)},
                                      {kMemoryKey, std::llround(1 / cost.seconds_per_byte)},
                                      {"axes", std::move(axes)}};
  return all.dump(2) + "\n";
}

MeshCost cost_from_json(const std::string& text, const std::string& source, Mesh mesh) {
  const JsonValue root = parse_json(text, source);
  const Reader reader{{text, source}};
  const JsonValue& version = reader.need(root, kVersionKey, JsonValue::integer);
  if (version.number != kVersion) {
    reader.fail(version, c10::str("expected version ", kVersion, ", got ", version.number));
  }
  const JsonValue& bytes = reader.need(root, "bytes", JsonValue::array);
  bool same = bytes.items.size() == AxisCost::kSizes.size();
  for (size_t i = 0; same && i < AxisCost::kSizes.size(); ++i) same = bytes.items[i].number == AxisCost::kSizes[i];
  if (!same) {
    reader.fail(bytes,
                "these are not the sizes that this version measures: write the file anew, by WEFT_COST=measure "
                "and weft.cost(mesh).save(path)");
  }
  MeshCost cost;
  cost.source = source;
  const JsonValue& products = reader.need(root, kProductsKey, JsonValue::integer);
  cost.seconds_per_product = 1 / static_cast<double>(reader.positive(products, kProductsKey));
  const JsonValue& memory = reader.need(root, kMemoryKey, JsonValue::integer);
  cost.seconds_per_byte = 1 / static_cast<double>(reader.positive(memory, kMemoryKey));
  const JsonValue& axes = reader.need(root, "axes", JsonValue::object);
  for (int a = 0; a < mesh->ndim(); ++a) {
    const int64_t ranks = mesh->axis_size(a);
    cost.axes.push_back(ranks == 1
                            ? AxisCost(1)
                            : reader.axis(reader.need(axes, mesh->axis_name(a).c_str(), JsonValue::object), ranks));
  }
  return cost;
}

}  // namespace weft::comm
