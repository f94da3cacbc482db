#include "plan/cost.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "comm/cost/cost.h"
#include "support/calls.h"

namespace weft {
namespace {

using testing::PlannedCall;

const Mesh kLine = DeviceMesh::get({2}, {"a"});
const Mesh kSquare = DeviceMesh::get({2, 2}, {"a", "b"});

Layout on(Mesh mesh, const std::vector<std::vector<std::string>>& axes) { return TensorLayout::from_names(mesh, axes); }

// A call with its rule bound.
struct Costed : PlannedCall {
  Costed(const std::string& name, const std::string& overload, std::vector<c10::IValue> args,
         const std::vector<Layout>& layouts, Mesh mesh)
      : PlannedCall(name, overload, std::move(args), layouts, mesh) {
    infer_results(call);
    std::string why;
    const auto binds = [&](const rules::RuleEntry* entry) {
      bound = rules::BoundRule();
      return entry->binder ? entry->binder(call, bound, why) : rules::bind(entry->rule, call, bound, why);
    };
    EXPECT_TRUE(std::any_of(op.rules.begin(), op.rules.end(), binds)) << why;
  }

  // What `axis` splits when it splits that dimension of that tensor.
  AxisChoice split(size_t tensor, size_t dim) const {
    return {AxisChoice::split, bound.tensors.at(tensor).dims.at(dim).at(0), 0, Reduction::none, nullptr};
  }
  double move(const AxisChoice& choice, int axis = 0, const std::vector<AxisChoice>& chosen = {}) const {
    return move_cost(call, bound, axis, choice, flow_of(call, bound, axis), chosen);
  }

  rules::BoundRule bound;
};

constexpr AxisChoice kReplicate{};

TEST(Cost, IsNothingWhereNothingMoves) {
  const Costed split("relu", "", {at::zeros({4, 6})}, {on(kLine, {{"a"}, {}})}, kLine);
  EXPECT_EQ(split.move(split.split(0, 0)), 0);
  const Costed replicated("relu", "", {at::zeros({4, 6})}, {on(kLine, {{}, {}})}, kLine);
  EXPECT_EQ(replicated.move(kReplicate), 0);
  EXPECT_EQ(replicated.move(replicated.split(0, 1)), 0);  // each rank keeps a part of what it has
}

TEST(Cost, GrowsWithTheBytesThatMove) {
  const auto gathered = [](int64_t rows) {
    return Costed("relu", "", {at::zeros({rows, 1000})}, {on(kLine, {{"a"}, {}})}, kLine).move(kReplicate);
  };
  const double latency = gathered(0);
  EXPECT_GT(latency, 0);
  EXPECT_NEAR(gathered(2000) - latency, 2 * (gathered(1000) - latency), 1e-12);
  // Of each rank's half, half goes elsewhere.
  const Costed columns("relu", "", {at::zeros({1000, 1000})}, {on(kLine, {{"a"}, {}})}, kLine);
  EXPECT_NEAR(columns.move(columns.split(0, 1)) - latency, (gathered(1000) - latency) / 2, 1e-12);
}

TEST(Cost, OfATensorThatOtherAxesSplitIsThatOfItsPart) {
  const auto gathered = [](const std::vector<std::string>& columns) {
    const Costed call("relu", "", {at::zeros({1000, 1000})}, {on(kSquare, {{"a"}, columns})}, kSquare);
    return call.move(kReplicate);
  };
  EXPECT_LT(gathered({"b"}), gathered({}));
}

TEST(Cost, ChargesAPendingResultItsLaterReduction) {
  const Layout columns = on(kLine, {{}, {"a"}}), rows = on(kLine, {{"a"}, {}});
  const auto contracted = [&](int64_t n) {
    const Costed mm("mm", "", {at::zeros({n, 6}), at::zeros({6, n})}, {columns, rows}, kLine);
    return mm.move(mm.split(0, 1));
  };
  EXPECT_GT(contracted(4), 0);
  EXPECT_GT(contracted(4000), contracted(4));
  // Shared out over the other axis, the result is half of it.
  const Costed mm("mm", "", {at::zeros({4000, 6}), at::zeros({6, 4000})},
                  {on(kSquare, {{}, {"a"}}), on(kSquare, {{"a"}, {}})}, kSquare);
  EXPECT_LT(mm.move(mm.split(0, 1), 0, {kReplicate, mm.split(0, 0)}),
            mm.move(mm.split(0, 1), 0, {kReplicate, kReplicate}));
}

TEST(Cost, ChargesWhatIsWrittenTheWayBack) {
  const std::vector<Layout> layouts{on(kLine, {{"a"}, {}}), on(kLine, {{}, {"a"}})};
  const std::vector<c10::IValue> arguments{at::zeros({400, 60}), at::zeros({400, 60}), 1};
  const Costed out_of_place("add", "Tensor", arguments, layouts, kLine);
  const Costed in_place("add_", "Tensor", arguments, layouts, kLine);
  EXPECT_GT(in_place.move(in_place.split(0, 1)), out_of_place.move(out_of_place.split(0, 1)));
  EXPECT_EQ(in_place.move(in_place.split(0, 0)), out_of_place.move(out_of_place.split(0, 0)));
}

TEST(Cost, IsNegativeForWhatNoRankCouldTell) {
  const Costed call("argmax", "", {at::zeros({4, 6}), int64_t{1}, false}, {on(kLine, {{}, {"a"}})}, kLine);
  EXPECT_LT(call.move(call.split(0, 1)), 0);
  EXPECT_GE(call.move(call.split(0, 0)), 0);
}

TEST(Cost, KnowsWhatStrictModeRefuses) {
  const Layout rows = on(kLine, {{"a"}, {}}), columns = on(kLine, {{}, {"a"}});
  Costed add("add_", "Tensor", {at::zeros({4, 6}), at::zeros({4, 6}), 1}, {rows, columns}, kLine);
  const auto moves = [&](const AxisChoice& choice) { return moves_what_stays(add.call, add.bound, 0, choice); };
  EXPECT_FALSE(moves(add.split(0, 0)));  // no tensor is to stay
  add.call.tensors[1].stays = true;
  EXPECT_TRUE(moves(add.split(0, 0)));
  EXPECT_FALSE(moves(add.split(0, 1)));
  add.call.tensors[0].stays = true;
  EXPECT_TRUE(moves(add.split(0, 1)));
  EXPECT_TRUE(moves(kReplicate));
  // A replicated one is cut for nothing, but what is written there has to come back.
  Costed into("add_", "Tensor", {at::zeros({4, 6}), at::zeros({4, 6}), 1}, {on(kLine, {{}, {}}), rows}, kLine);
  into.call.tensors[0].stays = true;
  EXPECT_TRUE(moves_what_stays(into.call, into.bound, 0, into.split(0, 0)));
  EXPECT_FALSE(moves_what_stays(into.call, into.bound, 0, kReplicate));
}

TEST(Cost, ChargesTheRowsThatAWindowReachesFor) {
  const auto split = [](int64_t kernel, size_t dim) {
    const std::vector<int64_t> ones{1, 1}, zeros{0, 0}, padding{kernel / 2, kernel / 2};
    std::vector<std::vector<std::string>> axes(4);
    axes.at(dim) = {"a"};
    const Costed call("convolution", "",
                      {at::zeros({4, 3, 8, 8}), at::zeros({5, 3, kernel, kernel}), c10::IValue(), ones, padding, ones,
                       false, zeros, 1},
                      {on(kLine, axes), nullptr}, kLine);
    return call.move(call.split(0, dim));
  };
  EXPECT_EQ(split(3, 0), 0);
  EXPECT_EQ(split(1, 2), 0);
  EXPECT_GT(split(3, 2), 0);
  EXPECT_GT(split(5, 2), split(3, 2));
}

TEST(Cost, ChargesWhatFlowsTheWayBackToItsSplit) {
  const Layout rows = on(kLine, {{"a"}, {}}), columns = on(kLine, {{}, {"a"}});
  // x[b@a, k] against w[k, n@a]: splitting n gathers x, and leaves the result split by n.
  const auto by_columns = [&](bool variable) {
    Costed mm("mm", "", {at::zeros({400, 60}), at::zeros({60, 80})}, {rows, columns}, kLine);
    mm.call.tensors[1].variable = variable;
    return mm.move(mm.split(1, 1));
  };
  const double latency = comm::AxisCost(2).seconds(comm::Moves::all_to_all, 0);
  EXPECT_GT(by_columns(true), by_columns(false) + latency);
  // Splitting the rows gathers w alone, whatever it is.
  const auto by_rows = [&](bool variable) {
    Costed mm("mm", "", {at::zeros({400, 60}), at::zeros({60, 80})}, {rows, columns}, kLine);
    mm.call.tensors[1].variable = variable;
    return mm.move(mm.split(0, 0));
  };
  EXPECT_EQ(by_rows(true), by_rows(false));
  // Where only the variable is split there is nothing to come back to.
  const auto column_parallel = [&](bool variable) {
    Costed mm("mm", "", {at::zeros({400, 60}), at::zeros({60, 80})}, {on(kLine, {{}, {}}), columns}, kLine);
    mm.call.tensors[1].variable = variable;
    return mm.move(mm.split(1, 1));
  };
  EXPECT_EQ(column_parallel(true), 0);
}

TEST(Cost, OfProductsIsThatOfAllFactors) {
  const auto products_of = [](const Costed& c) { return product_cost(c.call, c.bound); };
  const auto products = [&](int64_t m, int64_t k, int64_t n) {
    return products_of(Costed("mm", "", {at::zeros({m, k}), at::zeros({k, n})}, {on(kLine, {{}, {}}), nullptr}, kLine));
  };
  EXPECT_GT(products(4, 6, 8), 0);
  EXPECT_DOUBLE_EQ(products(8, 6, 8), 2 * products(4, 6, 8));
  EXPECT_DOUBLE_EQ(products(4, 6, 16), products(4, 12, 8));
  EXPECT_EQ(products_of(Costed("add", "Tensor", {at::zeros({4}), at::zeros({4}), 1}, {}, kLine)), 0);
  EXPECT_EQ(products_of(Costed("sum", "", {at::zeros({4}), c10::IValue()}, {}, kLine)), 0);  // one operand
}

}  // namespace
}  // namespace weft
