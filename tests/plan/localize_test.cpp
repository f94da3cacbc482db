// What an op is given on the shard: sizes among its arguments, and how the local call differs.
#include "plan/localize.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "local/causal.h"
#include "local/masked.h"
#include "local/windowed.h"
#include "support/calls.h"

namespace weft {
namespace {

using testing::PlannedCall;
using Sizes = std::vector<int64_t>;

const Mesh kLine = DeviceMesh::get({3}, {"a"});

Layout on(const std::vector<std::vector<std::string>>& axes) { return TensorLayout::from_names(kLine, axes); }

// The list that an argument has on a rank; none: it is left as it is.
std::optional<Sizes> patched(const Plan& plan, const OpInfo& op, const char* argument) {
  for (const Plan::Patch& patch : plan.patches) {
    if (patch.argument == op.argument(argument)) return patch.value.toIntVector();
  }
  return std::nullopt;
}

TEST(Localize, GivesEachRankTheSizesOfItsPart) {
  const Sizes rows{3, 3, 1};  // of 7
  for (int64_t rank = 0; rank < 3; ++rank) {
    PlannedCall expand("expand", "", {at::zeros({7, 1}), Sizes{7, 5}, false}, {on({{"a"}, {}})}, kLine);
    EXPECT_EQ(patched(expand.plan({rank}), expand.op, "size"), (Sizes{rows[rank], 5}));
    PlannedCall made(
        "new_empty_strided", "",
        {at::zeros({7, 5}), Sizes{7, 5}, Sizes{1, 7}, c10::IValue(), c10::IValue(), c10::IValue(), c10::IValue()},
        {on({{"a"}, {}})}, kLine);
    const Plan plan = made.plan({rank});
    EXPECT_EQ(patched(plan, made.op, "size"), (Sizes{rows[rank], 5}));
    EXPECT_EQ(patched(plan, made.op, "stride"), (Sizes{1, rows[rank]}));  // dense in the shard
  }
}

TEST(Localize, LeavesAloneWhatIsTheSameEverywhere) {
  PlannedCall view("view", "", {at::zeros({7, 6}), Sizes{7, 2, 3}}, {on({{}, {}})}, kLine);
  EXPECT_TRUE(view.plan({1}).patches.empty());
  PlannedCall other("new_zeros", "",
                    {at::zeros({7, 6}), Sizes{4}, c10::IValue(), c10::IValue(), c10::IValue(), c10::IValue()},
                    {on({{"a"}, {}})}, kLine);
  EXPECT_TRUE(other.plan({1}).patches.empty());
}

TEST(Localize, GivesAFoldedDimensionTheShareOfItsSplitFactor) {
  // [6, 5] seen as [30]: the rows' share times the columns.
  PlannedCall view("view", "", {at::zeros({6, 5}), Sizes{30}}, {on({{"a"}, {}})}, kLine);
  EXPECT_EQ(patched(view.plan({0}), view.op, "size"), (Sizes{10}));
}

const LocalCall* local_of(PlannedCall&& call) {
  static std::vector<std::shared_ptr<const LocalCall>> kept;
  kept.push_back(call.plan({0}).local);
  return kept.back().get();
}

TEST(Localize, ShiftsIndicesIntoADimensionThatIsSplit) {
  const at::Tensor weight = at::zeros({7000, 40}), index = at::zeros({5}, at::kLong);
  const std::vector<c10::IValue> arguments{weight, index, -1, false, false};
  const auto call = [&](Layout layout) {
    return local_of(PlannedCall("embedding", "", arguments, {layout, nullptr}, kLine));
  };
  EXPECT_NE(dynamic_cast<const MaskedCall*>(call(on({{"a"}, {}}))), nullptr);
  EXPECT_EQ(call(on({{}, {"a"}})), nullptr);
}

TEST(Localize, MasksNothingOverAnAxisOfOneRank) {
  const Mesh one = DeviceMesh::get({1}, {"a"});
  const auto split = [&](int64_t ndim, int64_t dim) {
    std::vector<std::vector<std::string>> axes(static_cast<size_t>(ndim));
    axes[static_cast<size_t>(dim)] = {"a"};
    return TensorLayout::from_names(one, axes);
  };
  const at::Tensor index = at::zeros({5}, at::kLong), x = at::zeros({2, 3, 6, 8});
  EXPECT_EQ(local_of(PlannedCall("embedding", "", {at::zeros({7000, 40}), index, -1, false, false},
                                 {split(2, 0), nullptr}, one)),
            nullptr);
  EXPECT_EQ(
      local_of(PlannedCall("_scaled_dot_product_flash_attention_for_cpu", "",
                           {x, x, x, 0.0, true, c10::IValue(), c10::IValue()}, {split(4, 2), nullptr, nullptr}, one)),
      nullptr);
}

TEST(Localize, MasksQueriesByTheirPlace) {
  const at::Tensor x = at::zeros({2, 3, 6, 8});
  const auto call = [&](bool causal, Layout layout) {
    return local_of(PlannedCall("_scaled_dot_product_flash_attention_for_cpu", "",
                                {x, x, x, 0.0, causal, c10::IValue(), c10::IValue()}, {layout, nullptr, nullptr},
                                kLine));
  };
  EXPECT_NE(dynamic_cast<const CausalCall*>(call(true, on({{}, {}, {"a"}, {}}))), nullptr);
  EXPECT_EQ(call(false, on({{}, {}, {"a"}, {}})), nullptr);
  EXPECT_EQ(call(true, on({{}, {"a"}, {}, {}})), nullptr);
}

TEST(Localize, FetchesRowsWhereAWindowSlidesOverASplitDimension) {
  const auto call = [](Layout layout) {
    return local_of(PlannedCall("convolution", "",
                                {at::zeros({6, 2, 9, 9}), at::zeros({4, 2, 3, 3}), c10::IValue(), Sizes{1, 1},
                                 Sizes{1, 1}, Sizes{1, 1}, false, Sizes{0, 0}, 1},
                                {layout, nullptr}, kLine));
  };
  EXPECT_NE(dynamic_cast<const WindowedCall*>(call(on({{}, {}, {"a"}, {}}))), nullptr);
  EXPECT_EQ(call(on({{"a"}, {}, {}, {}})), nullptr);
}

}  // namespace
}  // namespace weft
