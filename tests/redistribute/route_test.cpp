#include "redistribute/route.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/cost.h>

#include "comm/wire/collectives.h"
#include "layout/shard.h"
#include "redistribute/redistribute.h"
#include "support/run_ranks.h"
#include "support/sent.h"

namespace weft {
namespace {

using Axes = std::vector<std::vector<std::string>>;
using Pending = std::map<std::string, std::string>;

// The collectives that rank 0 takes part in.
std::vector<std::string> collectives(std::vector<int64_t> sizes, Layout from, Layout to) {
  const test::Sent sent;
  test::run_ranks(static_cast<int>(from->mesh()->size()), [&](int rank) {
    const std::vector<int64_t> coordinates = from->mesh()->coordinates_of(rank);
    redistribute_local(at::ones(local_sizes(from, sizes, coordinates)), sizes, from, to);
  });
  return sent.by(0);
}

Mesh two_by_two() { return DeviceMesh::get({2, 2}, {"data", "model"}); }

struct Known {
  Axes from_axes;
  Pending from_pending;
  Axes to_axes;
  Pending to_pending;
  std::vector<std::string> expected;
};

TEST(Route, TakesTheFewestCollectives) {
  const std::vector<Known> table = {
      // one step
      {{{}, {}}, {}, {{"data"}, {}}, {}, {}},
      {{{"data"}, {}}, {}, {{}, {}}, {}, {"all_gather data"}},
      {{{"data"}, {}}, {}, {{}, {"data"}}, {}, {"all_to_all data"}},
      {{{}, {}}, {{"model", "sum"}}, {{}, {}}, {}, {"all_reduce model"}},
      {{{}, {}}, {{"model", "sum"}}, {{}, {"model"}}, {}, {"reduce_scatter model"}},
      {{{}, {}}, {}, {{}, {}}, {{"data", "sum"}}, {}},
      {{{}, {}}, {}, {{}, {}}, {{"data", "max"}}, {}},
      // with another axis in place
      {{{"data"}, {"model"}}, {}, {{"data"}, {}}, {}, {"all_gather model"}},
      {{{"data"}, {}}, {{"model", "sum"}}, {{"data"}, {"model"}}, {}, {"reduce_scatter model"}},
      {{{"data"}, {}}, {{"model", "sum"}}, {{"data", "model"}, {}}, {}, {"reduce_scatter model"}},
      {{{"data", "model"}, {}}, {}, {{"data"}, {"model"}}, {}, {"all_to_all model"}},
      {{{"data", "model"}, {}}, {}, {{"data"}, {}}, {}, {"all_gather model"}},
      {{{"data"}, {}}, {}, {{"data"}, {"model"}}, {}, {}},
      // two axes
      {{{}, {}}, {}, {{"data", "model"}, {}}, {}, {}},
      {{{}, {}}, {}, {{"model"}, {"data"}}, {}, {}},
      {{{"data", "model"}, {}}, {}, {{}, {}}, {}, {"all_gather model", "all_gather data"}},
      {{{"model", "data"}, {}}, {}, {{}, {}}, {}, {"all_gather data", "all_gather model"}},
      {{{"data"}, {}}, {{"model", "sum"}}, {{}, {}}, {}, {"all_reduce model", "all_gather data"}},
      {{{}, {}},
       {{"data", "sum"}, {"model", "sum"}},
       {{"data"}, {"model"}},
       {},
       {"reduce_scatter data", "reduce_scatter model"}},
      // an order of axes changes by way of what is inside
      {{{"data", "model"}, {}}, {}, {{"model"}, {}}, {}, {"all_gather model", "all_gather data"}},
      {{{"data", "model"}, {}}, {}, {{"model", "data"}, {}}, {}, {"all_gather model", "all_gather data"}},
      // kinds that do not commute: the last axis first
      {{{}, {}}, {{"data", "sum"}, {"model", "max"}}, {{}, {}}, {}, {"all_reduce model", "all_reduce data"}},
      // another kind of pending goes through the value
      {{{}, {}}, {{"data", "sum"}}, {{}, {}}, {{"data", "max"}}, {"all_reduce data"}},
  };
  for (const Known& known : table) {
    Layout from = TensorLayout::from_names(two_by_two(), known.from_axes, known.from_pending);
    Layout to = TensorLayout::from_names(two_by_two(), known.to_axes, known.to_pending);
    SCOPED_TRACE(from->str() + " -> " + to->str());
    EXPECT_EQ(collectives({8, 8}, from, to), known.expected);
    const double cost = redistribution_seconds({8, 8}, 4, from, to);
    EXPECT_NEAR(cost, 20e-6 * static_cast<double>(known.expected.size()), 1e-6);
  }
}

TEST(Route, ReductionsAndSlicesAlone) {
  Mesh mesh = DeviceMesh::get({2, 2, 2}, {"a", "b", "c"});
  const std::vector<int64_t> sizes{8, 8};
  const Pending a{{"a", "sum"}}, ab{{"a", "sum"}, {"b", "avg"}};
  struct Way {
    Axes from;
    Pending pending;
    Axes to;
    std::optional<std::string> steps;  // "|a" scatters over a, "+a" sums over it, "/a" slices
  };
  const std::vector<Way> table = {
      {{{}, {}}, a, {{}, {}}, "+a"},
      {{{}, {}}, ab, {{}, {}}, "+a+b"},
      {{{}, {}}, a, {{"a"}, {}}, "|a"},
      {{{}, {}}, ab, {{"b"}, {}}, "|b+a"},
      {{{}, {}}, ab, {{"b", "a"}, {}}, "|b|a"},
      {{{}, {}}, ab, {{"b"}, {"a"}}, "|b|a"},
      {{{}, {}}, a, {{"a"}, {"b"}}, "/b|a"},
      {{{}, {}}, a, {{"b", "a"}, {}}, "/b|a"},
      {{{}, {}}, a, {{"a", "b"}, {}}, "|a/b"},
      {{{}, {}}, ab, {{"a", "c", "b"}, {}}, "|a/c|b"},
      {{{"c"}, {}}, ab, {{"c", "b"}, {}}, "|b+a"},
      {{{"c"}, {"b"}}, a, {{"c"}, {"b", "a"}}, "|a"},
      // nothing to reduce, something to gather or to move
      {{{}, {}}, {}, {{"a"}, {}}, std::nullopt},
      {{{"b"}, {}}, a, {{}, {}}, std::nullopt},
      {{{"b"}, {}}, a, {{"a"}, {}}, std::nullopt},
      {{{"b"}, {}}, a, {{"a", "b"}, {}}, std::nullopt},
      {{{"b"}, {}}, a, {{}, {"b"}}, std::nullopt},
  };
  for (const Way& way : table) {
    const Layout from = TensorLayout::from_names(mesh, way.from, way.pending);
    const Layout to = TensorLayout::from_names(mesh, way.to);
    const auto steps =
        relayout::only_reductions(relayout::state_of(from, sizes), relayout::state_of(to, sizes), {mesh, sizes, 4});
    std::optional<std::string> got;
    if (steps) got.emplace();
    for (const relayout::Step& step : steps ? *steps : relayout::Steps{}) {
      const bool reduces = step.from.kind == AxisState::partial;
      *got += c10::str(!reduces ? "/" : step.to.kind == AxisState::split ? "|" : "+", mesh->axis_name(step.axis));
    }
    EXPECT_EQ(got, way.steps) << from->str() << " -> " << to->str();
  }
}

TEST(Route, AnAxisOfSizeOneIsFree) {
  Mesh mesh = DeviceMesh::get({1, 2}, {"one", "two"});
  Layout split = TensorLayout::from_names(mesh, {{"one", "two"}});
  Layout plain = TensorLayout::from_names(mesh, {{"two"}});
  Layout whole = TensorLayout::replicated(mesh, 1);
  EXPECT_TRUE(collectives({5}, split, plain).empty());
  EXPECT_EQ(redistribution_seconds({5}, 4, split, plain), 0);
  EXPECT_EQ(collectives({5}, split, whole), std::vector<std::string>{"all_gather two"});
}

TEST(Route, NothingMovesForAnEmptyTensor) {
  Layout from = TensorLayout::from_names(two_by_two(), {{"data"}, {}}, {{"model", "sum"}});
  Layout to = TensorLayout::from_names(two_by_two(), {{}, {"data"}});
  EXPECT_TRUE(collectives({4, 0}, from, to).empty());
  EXPECT_EQ(redistribution_seconds({4, 0}, 4, from, to), 0);
}

// With a third dimension to park an axis in, the order of two axes changes without anyone holding the full tensor of a
// large tensor.
TEST(Route, LargeShardsDoNotOutgrowBothEnds) {
  Layout from = TensorLayout::from_names(two_by_two(), {{"data", "model"}, {}, {}});
  Layout to = TensorLayout::from_names(two_by_two(), {{"model", "data"}, {}, {}});
  const std::vector<int64_t> large{1024, 64, 64}, small{8, 4, 4};
  for (const std::string& kind : collectives(large, from, to)) EXPECT_THAT(kind, testing::StartsWith("all_to_all"));
  EXPECT_EQ(collectives(small, from, to).size(), 2);
}

// Without one, a gather is the only way.
TEST(Route, AnOrderOfAxesCanAlwaysChange) {
  Layout from = TensorLayout::from_names(two_by_two(), {{"data", "model"}});
  Layout to = TensorLayout::from_names(two_by_two(), {{"model", "data"}});
  EXPECT_THAT(collectives({1 << 20}, from, to), testing::ElementsAre("all_gather model", "all_gather data"));
}

// Too many axes to search them all: still a route, and a right one.
TEST(Route, ManyAxesArrive) {
  Mesh mesh = DeviceMesh::get({2, 2, 2, 2, 2, 2, 2}, {"a", "b", "c", "d", "e", "f", "g"});
  const std::vector<int64_t> sizes{256, 256, 256, 64};
  const relayout::Subject subject{mesh, sizes, 4};
  Layout from = TensorLayout::from_names(mesh, {{"a", "b", "c"}, {"d", "e"}, {}, {}}, {{"f", "sum"}, {"g", "max"}});
  Layout to = TensorLayout::from_names(mesh, {{"g", "c"}, {"e", "b", "a"}, {"f"}, {}}, {{"d", "sum"}});
  relayout::State state = relayout::state_of(from, sizes);
  const relayout::State goal = relayout::state_of(to, sizes);
  const relayout::Route route = relayout::find_route(state, goal, subject);
  int64_t cost = 0;
  for (const relayout::Step& step : route.steps) {
    ASSERT_TRUE(applies(step, state, subject));
    const relayout::State next = after(step, state);
    cost += relayout::cost(step, mesh, shard_bytes(state, subject), shard_bytes(next, subject));
    state = next;
  }
  EXPECT_TRUE(state == goal);
  EXPECT_EQ(cost, route.cost);
}

TEST(Route, CostsGrowWithTheBytesThatMove) {
  Mesh mesh = DeviceMesh::get({4}, {"x"});
  Layout whole = TensorLayout::replicated(mesh, 2);
  Layout rows = TensorLayout::from_names(mesh, {{"x"}, {}}), columns = TensorLayout::from_names(mesh, {{}, {"x"}});
  Layout sum = TensorLayout::from_names(mesh, {{}, {}}, {{"x", "sum"}});
  const std::vector<int64_t> sizes{1000, 1000};  // 4 MB: 3 MB of it through a link of 10 GB/s take 300 us
  EXPECT_NEAR(redistribution_seconds(sizes, 4, rows, whole), 320e-6, 1e-9);
  EXPECT_NEAR(redistribution_seconds(sizes, 4, sum, rows), 320e-6, 1e-9);
  EXPECT_NEAR(redistribution_seconds(sizes, 4, sum, whole), 620e-6, 1e-9);
  EXPECT_NEAR(redistribution_seconds(sizes, 4, rows, columns), 95e-6, 1e-9);
  EXPECT_EQ(redistribution_seconds(sizes, 4, whole, columns), 0);
  EXPECT_EQ(redistribution_seconds(sizes, 4, whole, sum), 0);
}

TEST(Route, CostsAreOfTensorsThatThereAre) {
  const Layout rows = TensorLayout::from_names(two_by_two(), {{"data"}, {}});
  const Layout vector = TensorLayout::replicated(two_by_two(), 1);
  EXPECT_THROW(redistribution_seconds({4, 3}, 4, rows, nullptr), c10::ValueError);
  EXPECT_THROW(redistribution_seconds({4, 3}, 4, rows, vector), c10::ValueError);
  EXPECT_THROW(redistribution_seconds({4, -3}, 4, rows, rows), c10::ValueError);
  EXPECT_THROW(redistribution_seconds({4, 3}, 0, rows, rows), c10::ValueError);
}

TEST(Route, TheSameLayoutIsTheSameTensor) {
  Layout rows = TensorLayout::from_names(two_by_two(), {{"data"}, {}});
  const at::Tensor local = at::ones({2, 3});
  EXPECT_TRUE(redistribute_local(local, {4, 3}, rows, rows).is_same(local));
}

TEST(Route, RefusesWhatCannotBe) {
  Layout rows = TensorLayout::from_names(two_by_two(), {{"data"}, {}});
  Layout vector = TensorLayout::from_names(two_by_two(), {{"data"}});
  Layout elsewhere = TensorLayout::replicated(DeviceMesh::get({4}, {"x"}), 2);
  const at::Tensor local = at::ones({2, 3});
  EXPECT_THROW(redistribute_local(local, {4, 3}, rows, vector), c10::ValueError);
  EXPECT_THROW(redistribute_local(local, {4, 3}, rows, elsewhere), c10::ValueError);
  EXPECT_THROW(redistribute_local(local, {4}, rows, TensorLayout::replicated(two_by_two(), 2)), c10::ValueError);
  Layout blocked = TensorLayout::get(two_by_two(), {{{0, 8}}, {}});
  test::run_ranks(4, [&](int) {
    EXPECT_THROW(redistribute_local(at::ones({12, 1}), {12, 1}, TensorLayout::replicated(two_by_two(), 2), blocked),
                 c10::ValueError);
  });
}

}  // namespace
}  // namespace weft
