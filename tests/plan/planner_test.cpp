// What plans say: which layouts the operands are brought to, what the results have, and how the local call differs.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan.h"
#include "support/calls.h"

namespace weft {
namespace {

using ::testing::HasSubstr;
using testing::PlannedCall;

const Mesh kLine = DeviceMesh::get({2}, {"a"});
const Mesh kSquare = DeviceMesh::get({2, 2}, {"a", "b"});

Layout on(Mesh mesh, const std::vector<std::vector<std::string>>& axes,
          const std::map<std::string, std::string>& partial = {}) {
  return TensorLayout::from_names(mesh, axes, partial);
}

TEST(Planner, KeepsASplitThatCostsNothing) {
  const Layout rows = on(kLine, {{"a"}, {}});
  const Plan plan = PlannedCall("relu", "", {at::zeros({4, 6})}, {rows}, kLine).plan({0});
  EXPECT_EQ(plan.inputs, (std::vector<Layout>{rows}));
  EXPECT_EQ(plan.outputs.at(0).layout, rows);
  EXPECT_FALSE(plan.gathered);
  EXPECT_EQ(plan.local, nullptr);
}

TEST(Planner, LeavesTheSumOfAContractionPending) {
  const Layout columns = on(kLine, {{}, {"a"}}), rows = on(kLine, {{"a"}, {}});
  const Plan plan = PlannedCall("mm", "", {at::zeros({4, 6}), at::zeros({6, 8})}, {columns, rows}, kLine).plan({0});
  EXPECT_EQ(plan.inputs, (std::vector<Layout>{columns, rows}));
  EXPECT_EQ(plan.outputs.at(0).layout, on(kLine, {{}, {}}, {{"a", "sum"}}));
}

TEST(Planner, GivesEachAxisAChoiceOfItsOwn) {
  const Layout rows = on(kSquare, {{"a"}, {}}), columns = on(kSquare, {{}, {"b"}});
  const Plan plan =
      PlannedCall("mm", "", {at::zeros({4, 6}), at::zeros({6, 8})}, {rows, columns}, kSquare).plan({0, 0});
  EXPECT_EQ(plan.inputs, (std::vector<Layout>{rows, columns}));
  EXPECT_EQ(plan.outputs.at(0).layout, on(kSquare, {{"a"}, {"b"}}));
}

TEST(Planner, MovesTheSmallerOperand) {
  const Layout rows = on(kLine, {{"a"}, {}}), columns = on(kLine, {{}, {"a"}});
  const at::Tensor large = at::zeros({400, 60}), small = at::zeros({400, 60}).slice(0, 0, 1);
  const Plan plan = PlannedCall("add", "Tensor", {large, small, 1}, {rows, columns}, kLine).plan({0});
  EXPECT_EQ(plan.inputs.at(0), rows);
  EXPECT_EQ(plan.inputs.at(1), on(kLine, {{}, {}}));
  EXPECT_EQ(plan.outputs.at(0).layout, rows);
}

TEST(Planner, MovesNothingInStrictModeWhereItNeedNot) {
  const Layout rows = on(kLine, {{"a"}, {}}), replicated = on(kLine, {{}, {}});
  const at::Tensor index = at::zeros({500}, at::kLong);
  PlannedCall lookup("embedding", "", {at::zeros({4, 6}), index, -1, false, false}, {rows, nullptr}, kLine);
  EXPECT_EQ(lookup.plan({0}).inputs.at(0), replicated);  // 96 bytes beside a sum of 12,000
  lookup.call.tensors[0].stays = true;
  EXPECT_EQ(lookup.plan({0}).inputs.at(0), rows);
  EXPECT_TRUE(lookup.plan({0}).outputs.at(0).layout->has_partial());
  // Where all plans move something it is the cheapest.
  PlannedCall sort("sort", "", {at::zeros({4, 6}), 0, false}, {rows}, kLine);
  sort.call.tensors[0].stays = true;
  EXPECT_EQ(sort.plan({0}).inputs.at(0), replicated);
}

TEST(Planner, MasksWhatOneIndexLooksInto) {
  const Layout rows = on(kLine, {{"a"}, {}});
  const at::Tensor table = at::zeros({4000, 60}), index = at::zeros({5}, at::kLong);
  const auto masked = [&](const std::string& name, const std::string& overload, std::vector<c10::IValue> arguments) {
    const Plan plan = PlannedCall(name, overload, std::move(arguments), {rows}, kLine).plan({0});
    return plan.inputs.at(0) == rows && plan.outputs.at(0).layout->has_partial();
  };
  const auto list = [](const std::vector<std::optional<at::Tensor>>& entries) {
    return c10::List<std::optional<at::Tensor>>(c10::ArrayRef<std::optional<at::Tensor>>(entries));
  };
  EXPECT_TRUE(masked("index_select", "", {table, 0, index}));
  EXPECT_TRUE(masked("index", "Tensor", {table, list({index})}));
  EXPECT_FALSE(masked("index", "Tensor", {table, list({index, index})}));  // both dimensions are whole
  // Indices may be split themselves.
  const Plan split = PlannedCall("index_select", "", {table, 0, at::zeros({8}, at::kLong)},
                                 {on(kLine, {{}, {}}), on(kLine, {{"a"}})}, kLine)
                         .plan({0});
  EXPECT_EQ(split.outputs.at(0).layout, rows);
}

TEST(Planner, CarriesOutAReductionThatTheOpCannotPass) {
  const Layout pending = on(kLine, {{}, {}}, {{"a", "sum"}});
  const Plan relu = PlannedCall("relu", "", {at::zeros({4, 6})}, {pending}, kLine).plan({0});
  ASSERT_EQ(relu.reductions.size(), 1u);
  EXPECT_EQ(relu.reductions[0].to, on(kLine, {{}, {}}));
  const Plan negative = PlannedCall("neg", "", {at::zeros({4, 6})}, {pending}, kLine).plan({0});
  EXPECT_TRUE(negative.reductions.empty());
  EXPECT_EQ(negative.outputs.at(0).layout, pending);
}

TEST(Planner, CarriesOutAReductionWhosePartsDoNotConvert) {
  const Layout pending = on(kLine, {{}}, {{"a", "sum"}}), whole = on(kLine, {{}});
  const at::Tensor x = at::zeros({1 << 18});
  const auto reduces = [&](const std::string& name, std::vector<c10::IValue> arguments, std::vector<Layout> layouts) {
    return !PlannedCall(name, "", std::move(arguments), std::move(layouts), kLine).plan({0}).reductions.empty();
  };
  // 0.6 and 0.6 are 1 together, and 0 each as integers; bytes wrap around.
  EXPECT_TRUE(reduces("copy_", {x.to(at::kChar), x, false}, {whole, pending}));
  EXPECT_TRUE(reduces("copy_", {x.to(at::kHalf), x, false}, {pending, pending}));
  EXPECT_FALSE(reduces("copy_", {x.to(at::kDouble), x, false}, {pending, pending}));
  const auto pair = [&](at::ScalarType dtype) { return c10::List<at::Tensor>({x, x.to(dtype)}); };
  EXPECT_TRUE(reduces("cat", {pair(at::kChar), 0}, {pending, pending}));
  EXPECT_FALSE(reduces("cat", {pair(at::kFloat), 0}, {pending, pending}));
}

// 31 in two parts are 16 and 15, in five of these 4, 4, 4, 4 and 0, but 3 each.
TEST(Planner, LeavesNoRankWithoutALargest) {
  const Mesh wide = DeviceMesh::get({2, 5}, {"a", "b"});
  const Layout both = on(wide, {{"a", "b"}});
  const Plan plan =
      PlannedCall("amax", "", {at::zeros({31}), std::vector<int64_t>{0}, false}, {both}, wide).plan({0, 0});
  EXPECT_NE(plan.inputs.at(0), both);
}

TEST(Planner, WritesBackWhatArrivesElsewhere) {
  const Layout rows = on(kLine, {{"a"}, {}}), columns = on(kLine, {{}, {"a"}});
  const Plan plan =
      PlannedCall("add_", "Tensor", {at::zeros({4, 6}), at::zeros({4, 6}), 1}, {rows, columns}, kLine).plan({0});
  EXPECT_EQ(plan.inputs.at(0), rows);  // the destination keeps its layout
  EXPECT_TRUE(plan.write_backs.empty());
  EXPECT_EQ(plan.inputs.at(1), rows);
}

TEST(Planner, MakesSizesLocal) {
  const Layout rows = on(kLine, {{"a"}, {}});
  for (const int64_t rank : {0, 1}) {
    const Plan plan =
        PlannedCall("view", "", {at::zeros({5, 6}), std::vector<int64_t>{5, 3, 2}}, {rows}, kLine).plan({rank});
    ASSERT_EQ(plan.patches.size(), 1u);
    EXPECT_EQ(plan.patches[0].value.toIntVector(), (std::vector<int64_t>{rank == 0 ? 3 : 2, 3, 2}));
    EXPECT_EQ(plan.outputs.at(0).layout, on(kLine, {{"a"}, {}, {}}));
  }
}

TEST(Planner, SplitsBesideWhatFoldsAcross) {
  const Plan plan = PlannedCall("view", "", {at::zeros({2, 6, 2, 6}), std::vector<int64_t>{36, 4}},
                                {on(kLine, {{}, {"a"}, {}, {}})}, kLine)
                        .plan({0});
  const TensorLayout::Dims blocks{{{0, 18}}, {}};
  EXPECT_EQ(plan.outputs.at(0).layout, TensorLayout::get(kLine, blocks));
}

TEST(Planner, MasksIndicesIntoASplitDimension) {
  const at::Tensor table = at::zeros({10, 4}), indices = at::zeros({3}, at::kLong);
  const Plan plan =
      PlannedCall("embedding", "", {table, indices, -1, false, false}, {on(kLine, {{"a"}, {}}), on(kLine, {{}})}, kLine)
          .plan({1});
  EXPECT_NE(plan.local, nullptr);
  EXPECT_EQ(plan.outputs.at(0).layout, on(kLine, {{}, {}}, {{"a", "sum"}}));
}

TEST(Planner, RunsADecompositionWhereAFactorArrivesSplit) {
  const std::vector<c10::IValue> arguments = {at::zeros({4, 6}), 1, false};
  EXPECT_NE(PlannedCall("_softmax", "", arguments, {on(kLine, {{}, {"a"}})}, kLine).plan({0}).composite, nullptr);
  EXPECT_EQ(PlannedCall("_softmax", "", arguments, {on(kLine, {{"a"}, {}})}, kLine).plan({0}).composite, nullptr);
}

TEST(Planner, GathersWhereThereIsNoRule) {
  const Plan plan = PlannedCall("histc", "", {at::zeros({8}), 4, 0, 1}, {on(kLine, {{"a"}})}, kLine).plan({0});
  EXPECT_TRUE(plan.gathered);
  EXPECT_EQ(plan.inputs.at(0), on(kLine, {{}}));
  EXPECT_EQ(plan.gathered_bytes, 8 * 4);
  EXPECT_THAT(plan.reason, HasSubstr("rule"));
}

TEST(Planner, IsTheSameOnAllRanksButForSizes) {
  const Layout rows = on(kSquare, {{"a"}, {"b"}}), other = on(kSquare, {{"b"}, {}});
  const at::Tensor x = at::zeros({7, 5}), y = at::zeros({5, 9});
  const Plan first = PlannedCall("mm", "", {x, y}, {rows, other}, kSquare).plan({0, 0});
  for (const std::vector<int64_t>& at : {std::vector<int64_t>{0, 1}, {1, 0}, {1, 1}}) {
    const Plan plan = PlannedCall("mm", "", {x, y}, {rows, other}, kSquare).plan(at);
    EXPECT_EQ(plan.inputs, first.inputs);
    EXPECT_EQ(plan.outputs.at(0).layout, first.outputs.at(0).layout);
  }
}

}  // namespace
}  // namespace weft
