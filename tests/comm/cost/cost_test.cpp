#include "comm/cost/cost.h"

#include <gtest/gtest.h>

#include "support/run_ranks.h"

namespace weft::comm {
namespace {

AxisCost::Table table(Ticks first) {
  AxisCost::Table t{};
  for (size_t m = 0; m < t.size(); ++m) {
    for (size_t i = 0; i < t[m].size(); ++i) t[m][i] = first * Ticks(m + 1) * (Ticks{1} << (2 * i));
  }
  return t;
}

TEST(CollectiveCost, OfTheFixedModelIsLatencyAndBytes) {
  const AxisCost four(4);
  const Ticks latency = four.of(Moves::all_gather, 0);
  EXPECT_EQ(four.of(Moves::all_gather, 4000) - latency, 3000);
  EXPECT_EQ(four.of(Moves::all_reduce, 4000) - latency, 6000);
  EXPECT_EQ(four.least(), latency);
}

TEST(CollectiveCost, IsStraightBetweenMeasuredSizesAndBeyond) {
  const AxisCost measured(2, table(1000));
  const auto& sizes = AxisCost::kSizes;
  for (size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_EQ(measured.of(Moves::all_to_all, sizes[i]), 2000 << (2 * i));
  }
  EXPECT_EQ(measured.of(Moves::all_gather, 0), 1000);
  EXPECT_EQ(measured.of(Moves::all_gather, (sizes[0] + sizes[1]) / 2), 2500);
  const size_t last = sizes.size() - 1;
  const int64_t run = sizes[last] - sizes[last - 1];
  const Ticks of_last = 1000 << (2 * last);
  EXPECT_EQ(measured.of(Moves::all_gather, sizes[last] + 10 * run), of_last + 10 * (of_last / 4 * 3));
}

TEST(CollectiveCost, NeverFallsWithTheSize) {
  AxisCost::Table noisy = table(1000);
  noisy[0][1] = 1'000'000;  // was disturbed
  const AxisCost cost(2, noisy);
  EXPECT_EQ(cost.of(Moves::all_gather, AxisCost::kSizes[0]), 1000);
  EXPECT_EQ(cost.of(Moves::all_gather, AxisCost::kSizes[1]), cost.of(Moves::all_gather, AxisCost::kSizes[2]));
  EXPECT_EQ(cost.of(Moves::all_gather, AxisCost::kSizes[2]), 16000);
}

TEST(CollectiveCost, IsReadAsItWasWritten) {
  const Mesh mesh = DeviceMesh::get({2, 1, 3}, {"x", "one", "y"});
  MeshCost cost;
  cost.axes = {AxisCost(2, table(70)), AxisCost(1), AxisCost(3, table(1230))};
  cost.seconds_per_product = 1.0 / 3e9;
  const MeshCost read = cost_from_json(to_json(cost, mesh), "file", mesh);
  EXPECT_EQ(read.axes[0].table(), cost.axes[0].table());
  EXPECT_EQ(read.axes[2].table(), cost.axes[2].table());
  EXPECT_DOUBLE_EQ(read.seconds_per_product, cost.seconds_per_product);
  EXPECT_EQ(read.source, "file");
}

TEST(CollectiveCost, OfAFileThatDoesNotFitIsRefused) {
  const Mesh mesh = DeviceMesh::get({2}, {"x"});
  MeshCost cost;
  cost.axes = {AxisCost(2, table(70))};
  const std::string text = to_json(cost, mesh);
  const auto refused = [&](const std::string& t, Mesh m, const std::string& says) {
    try {
      cost_from_json(t, "file", m);
      ADD_FAILURE() << "taken: " << t;
    } catch (const c10::ValueError& error) {
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
    }
  };
  refused(text, DeviceMesh::get({4}, {"x"}), "4 ranks here");
  refused(text, DeviceMesh::get({2}, {"y"}), "y");
  refused("{}", mesh, "weft_cost");
  refused("[]", mesh, "weft_cost");
  refused("nothing", mesh, "file:1:");
}

TEST(CollectiveCost, IsMeasuredAlikeOnAllRanks) {
  std::vector<std::string> texts(4);
  test::run_ranks(4, [&](int rank) {
    const Mesh mesh = DeviceMesh::get({2, 2}, {"a", "b"});
    texts[rank] = to_json(measure_cost(mesh), mesh);
  });
  for (const std::string& text : texts) EXPECT_EQ(text, texts[0]);
  EXPECT_NE(texts[0].find("measured"), std::string::npos);
}

}  // namespace
}  // namespace weft::comm
