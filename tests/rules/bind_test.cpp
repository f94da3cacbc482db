// Rules bound to calls: which dimensions share a factor, and what each factor may do.
#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include "plan/plan.h"
#include "rules/registry.h"
#include "support/calls.h"

namespace weft::rules {
namespace {

struct Bound : testing::PlannedCall {
  BoundRule rule;
  std::string why;
  bool ok = false;

  Bound(const char* name, const char* overload, std::vector<c10::IValue> args)
      : PlannedCall(name, overload, std::move(args), {}, nullptr) {
    if (!infer_results(call)) return;
    for (const RuleEntry* entry : op.rules) {
      rule = BoundRule();
      ok = entry->binder ? entry->binder(call, rule, why) : rules::bind(entry->rule, call, rule, why);
      if (ok) return;
    }
  }
  // The one factor of a dimension; -1: none or several.
  int operand(int tensor, int dim) const {
    const auto& d = rule.tensors[tensor].dims[dim];
    return d.size() == 1 ? d[0] : -1;
  }
  int result(int r, int dim) const {
    const auto& d = rule.results[r].dims[dim];
    return d.size() == 1 ? d[0] : -1;
  }
  const BoundRule::Factor& factor(int f) const { return rule.factors.at(f); }
};

TEST(Bind, MatrixProduct) {
  const Bound b("mm", "", {at::empty({3, 4}), at::empty({4, 5})});
  ASSERT_TRUE(b.ok) << b.why;
  EXPECT_EQ(b.operand(0, 0), b.result(0, 0));
  EXPECT_EQ(b.operand(1, 1), b.result(0, 1));
  EXPECT_EQ(b.operand(0, 1), b.operand(1, 0));
  const auto& k = b.factor(b.operand(0, 1));
  EXPECT_TRUE(k.contracted);
  EXPECT_EQ(k.reduction, Reduction::sum);
  EXPECT_EQ(k.size, 4);
}

TEST(Bind, BroadcastDimensionIsNotSplit) {
  const Bound b("add", "Tensor", {at::empty({4, 1}), at::empty({3, 4, 5}), 1});
  ASSERT_TRUE(b.ok) << b.why;
  EXPECT_EQ(b.operand(0, 0), b.result(0, 1));
  EXPECT_TRUE(b.rule.tensors[0].dims[1].empty());
  EXPECT_EQ(b.operand(1, 2), b.result(0, 2));
  EXPECT_EQ(b.factor(b.result(0, 2)).size, 5);
}

// One mask for all heads, or for each.
TEST(Bind, FoldedDimensionThatBroadcastsIsNotSplit) {
  const at::Tensor q = at::empty({2, 6, 3, 8}), k = at::empty({2, 2, 3, 8});
  for (const int64_t heads : {1, 6}) {
    const Bound b("_scaled_dot_product_flash_attention_for_cpu", "",
                  {q, k, k, 0.0, false, at::zeros({1, heads, 3, 3}), c10::IValue()});
    ASSERT_TRUE(b.ok) << b.why;
    EXPECT_EQ(b.rule.tensors[3].dims[1].size(), heads == 1 ? 0U : 2U);
    for (const int factor : b.rule.tensors[0].dims[1]) EXPECT_TRUE(b.factor(factor).splittable) << factor;
  }
}

TEST(Bind, ReducedDimensionsWithAndWithoutKeepdim) {
  for (const bool keepdim : {false, true}) {
    const Bound b("sum", "dim_IntList", {at::empty({2, 3, 4}), std::vector<int64_t>{1}, keepdim, c10::IValue()});
    ASSERT_TRUE(b.ok) << b.why;
    EXPECT_EQ(b.operand(0, 0), b.result(0, 0));
    EXPECT_EQ(b.operand(0, 2), b.result(0, keepdim ? 2 : 1));
    EXPECT_EQ(b.factor(b.operand(0, 1)).reduction, Reduction::sum);
    EXPECT_TRUE(b.factor(b.operand(0, 1)).contracted);
  }
}

TEST(Bind, IndexShorterThanSelfIsNeverTakenAsBroadcasting) {
  const Bound b("scatter", "src", {at::empty({5, 4}), 1, at::zeros({1, 2}, at::kLong), at::empty({5, 4})});
  ASSERT_TRUE(b.ok) << b.why;
  EXPECT_FALSE(b.factor(b.operand(0, 0)).splittable);
  EXPECT_TRUE(b.factor(b.operand(0, 1)).whole);
}

TEST(Bind, ReshapeSharesFactors) {
  const Bound b("view", "", {at::empty({2, 3, 4}), std::vector<int64_t>{6, 2, 2}});
  ASSERT_TRUE(b.ok) << b.why;
  ASSERT_EQ(b.rule.results[0].dims[0].size(), 2u);
  EXPECT_EQ(b.rule.results[0].dims[0][0], b.operand(0, 0));
  EXPECT_EQ(b.rule.results[0].dims[0][1], b.operand(0, 1));
  ASSERT_EQ(b.rule.tensors[0].dims[2].size(), 2u);
  EXPECT_EQ(b.rule.tensors[0].dims[2][0], b.result(0, 1));
  EXPECT_TRUE(b.factor(b.operand(0, 0)).even);
  EXPECT_FALSE(b.factor(b.operand(0, 1)).even);
}

TEST(Bind, GroupedConvolutionFoldsChannels) {
  const std::vector<int64_t> one{1, 1}, zero{0, 0};
  const Bound b("convolution", "",
                {at::empty({2, 4, 5, 5}), at::empty({6, 2, 3, 3}), at::empty({6}), one, zero, one, false, zero, 2});
  ASSERT_TRUE(b.ok) << b.why;
  ASSERT_EQ(b.rule.tensors[0].dims[1].size(), 2u);
  const int g = b.rule.tensors[0].dims[1][0], i = b.rule.tensors[0].dims[1][1];
  EXPECT_EQ(b.factor(g).size, 2);
  EXPECT_EQ(b.factor(i).size, 2);
  EXPECT_EQ(b.operand(1, 1), i);
  EXPECT_EQ(b.rule.results[0].dims[1][0], g);
  EXPECT_EQ(b.factor(i).reduction, Reduction::sum);
  EXPECT_TRUE(b.rule.tensors[2].added_once);
}

TEST(Bind, WhatNoOperandHasIsNotSplit) {
  const std::vector<int64_t> ones{1, 1};
  const Bound b("im2col", "", {at::empty({1, 3, 5, 5}), std::vector<int64_t>{2, 2}, ones, ones, ones});
  ASSERT_TRUE(b.ok) << b.why;
  const auto& rows = b.rule.results[0].dims[1];
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_TRUE(b.factor(rows[0]).splittable);
  EXPECT_FALSE(b.factor(rows[1]).splittable);
}

TEST(Bind, RulesDependOnArguments) {
  const at::Tensor x = at::empty({4, 3});
  const Bound none("mse_loss", "", {x, x, 0}), mean("mse_loss", "", {x, x, 1}), sum("mse_loss", "", {x, x, 2});
  ASSERT_TRUE(none.ok && mean.ok && sum.ok);
  EXPECT_EQ(none.operand(0, 0), none.result(0, 0));
  EXPECT_EQ(sum.factor(sum.operand(0, 0)).reduction, Reduction::sum);
  EXPECT_EQ(mean.factor(mean.operand(0, 0)).via, "mean_loss");
}

TEST(Bind, NumbersHaveNoDimensionByAnyName) {
  for (const int64_t dim : {0, -1}) {
    const Bound b("index_select", "", {at::empty({}), dim, at::zeros({1}, at::kLong)});
    ASSERT_TRUE(b.ok) << b.why;
    EXPECT_TRUE(b.rule.tensors[0].dims.empty());
    EXPECT_TRUE(b.rule.results[0].dims.empty());
  }
}

TEST(Bind, NewTensorsAreSplitWhereTheyAreAsLong) {
  const c10::IValue none;
  const Bound b("new_zeros", "", {at::empty({8, 4, 6}), std::vector<int64_t>{8, 5, 6, 2}, none, none, none, none});
  ASSERT_TRUE(b.ok) << b.why;
  EXPECT_EQ(b.result(0, 0), b.operand(0, 0));
  EXPECT_EQ(b.result(0, 1), -1);
  EXPECT_EQ(b.result(0, 2), b.operand(0, 2));
  EXPECT_EQ(b.result(0, 3), -1);
}

TEST(Bind, SayWhyNot) {
  const Bound b("nll_loss_forward", "", {at::empty({4}), at::zeros({}, at::kLong), c10::IValue(), 1, -100});
  EXPECT_FALSE(b.ok);
  EXPECT_NE(b.why.find("does not fit a tensor of 1 dimensions"), std::string::npos) << b.why;
}

TEST(Bind, ConditionsOnAValue) {
  const at::Tensor x = at::zeros({2, 3});
  for (const int64_t reduction : {0, 1, 2}) {
    const Bound loss("mse_loss", "", {x, x, reduction});
    auto binds = [&](const char* text) {
      BoundRule bound;
      std::string why;
      return rules::bind(parse(text), loss.call, bound, why);
    };
    EXPECT_EQ(binds("..., ... -> ...;  when reduction=sum"), reduction == 2);
    EXPECT_EQ(binds("..., ... -> ...;  unless reduction=2"), reduction != 2);
    EXPECT_EQ(binds("..., ... -> ...;  when reduction"), reduction != 0);
    EXPECT_EQ(binds("..., ... -> ...;  unless reduction"), reduction == 0);
  }
}

}  // namespace
}  // namespace weft::rules
