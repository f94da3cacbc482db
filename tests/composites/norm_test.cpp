// Normalizations and vector norms over split dimensions.
#include <weft/tensor.h>

#include <utility>

#include "composites/case.h"

namespace weft {
namespace {

constexpr double kEpsilon = 1e-5;
using Axes = std::vector<std::vector<std::string>>;
const Axes kRows{{"x"}, {}}, kColumns{{}, {"x"}}, kSplit{{"x"}}, kWhole{{}}, kWholeRows{{}, {}}, kBatch{{"x"}, {}, {}};

c10::List<bool> wanted(bool first, bool second, bool third) { return c10::List<bool>({first, second, third}); }

TEST(VectorNormComposite, CombinesThePartsOfEachOrder) {
  at::Tensor x = waves({5, 4});
  x[1][2] = 0;
  const std::vector<int64_t> rows{0};
  for (const double order : {2., 1., kInfinity, -kInfinity, 0., 3., 0.5}) {
    for (const bool keepdim : {false, true}) {
      expect_same({{&run_vector_norm, "linalg_vector_norm", {x, order, rows, keepdim, kNone}, {kRows}},
                   {&run_vector_norm, "linalg_vector_norm", {x, order, kNone, keepdim, kNone}, {kColumns}},
                   {&run_vector_norm, "linalg_vector_norm", {x, order, rows, keepdim, at::kDouble}, {kRows}, 1e-6}});
    }
  }
}

Values vector_norm(const at::Tensor& x, double order) {
  Values stack{x, order, kNone, false, kNone};
  const BelowAutograd guard;
  run_vector_norm(test::op_named("linalg_vector_norm"), stack);
  return stack;
}
Reduction pending(const at::Tensor& x) { return layout_of(x)->partial()[0]; }

TEST(VectorNormComposite, StaysPendingUntilSomeoneAsks) {
  const std::vector<std::pair<double, Reduction>> orders{
      {2, Reduction::norm2}, {1, Reduction::sum}, {kInfinity, Reduction::max}, {-kInfinity, Reduction::min}};
  test::run_ranks(3, [&](int) {
    const at::Tensor x = distribute_tensor(waves({7}), TensorLayout::from_names(test::line(3), kSplit));
    for (const auto& [order, reduction] : orders) {
      EXPECT_EQ(pending(vector_norm(x, order).at(0).toTensor()), reduction) << order;
    }
  });
}

// A 2-norm of pending 2-norms passes; a pending sum is needed whole.
TEST(VectorNormComposite, OfWhatIsPending) {
  const at::Tensor x = waves({5, 4});
  test::run_ranks(3, [&](int) {
    const at::Tensor sharded = distribute_tensor(x, TensorLayout::from_names(test::line(3), kRows));
    const at::Tensor sums = sharded.sum(0), norms = at::linalg_vector_norm(sharded, 2, 0);
    ASSERT_EQ(pending(sums), Reduction::sum);
    ASSERT_EQ(pending(norms), Reduction::norm2);
    const Values of_norms = vector_norm(norms, 2);
    EXPECT_EQ(pending(of_norms.at(0).toTensor()), Reduction::norm2);
    EXPECT_EQ(test::difference(of_norms, {x.norm()}), "");
    EXPECT_EQ(test::difference(vector_norm(sums, 2), {x.sum(0).norm()}), "");
    EXPECT_EQ(test::difference(vector_norm(norms, 1), {at::linalg_vector_norm(x, 2, 0).sum()}), "");
  });
}

TEST(VectorNormComposite, OfHalvesStaysInTheirRange) {
  const at::Tensor x = waves({5, 4}, at::kHalf).mul(50);
  for (const double order : {3., 1.5, 2.}) {
    expect_same({{&run_vector_norm, "linalg_vector_norm", {x, order, kNone, false, kNone}, {kRows}, 1e-3}});
  }
}

TEST(VectorNormComposite, OfNothingIsRefusedAsByCore) {
  test::run_ranks(3, [&](int) {
    const at::Tensor x = distribute_tensor(at::zeros({0, 4}), TensorLayout::from_names(test::line(3), kRows));
    EXPECT_THROW(vector_norm(x, kInfinity), c10::Error);
    EXPECT_EQ(test::difference(vector_norm(x, 2), {at::zeros({})}), "");
  });
}

// What is written into a pending norm, or put beside one, need not be one.
TEST(VectorNormComposite, StandsBesideWhatIsNone) {
  const at::Tensor x = waves({5, 4}), other = at::tensor({-1., 0., 2e30, -3e-30}, at::kFloat);
  test::run_ranks(3, [&](int) {
    const at::Tensor sharded = distribute_tensor(x, TensorLayout::from_names(test::line(3), kRows));
    const auto norms = [&] { return at::linalg_vector_norm(sharded, 2, 0); };
    EXPECT_EQ(test::difference({at::stack({norms(), other})}, {at::stack({at::linalg_vector_norm(x, 2, 0), other})}),
              "");
    EXPECT_EQ(test::difference({norms().copy_(other)}, {other}), "");
    EXPECT_EQ(test::difference({norms().fill_(-2)}, {at::full({4}, -2.f)}), "");
  });
}

TEST(NormComposite, TakesEachOverload) {
  const at::Tensor x = waves({5, 4}), y = waves({5, 4}).cos();
  const std::vector<int64_t> rows{0};
  const c10::List<at::Tensor> list({x, y, waves({7})});
  expect_same({{&run_norm, "norm.Scalar", {x, 2.}, {kRows}},
               {&run_norm, "norm.ScalarOpt_dim", {x, kNone, rows, true}, {kRows}},
               {&run_norm, "norm.ScalarOpt_dim_dtype", {x, 1., rows, false, at::kDouble}, {kRows}, 1e-6},
               {&run_norm, "norm.ScalarOpt_dtype", {x, 3., at::kDouble}, {kColumns}, 1e-6},
               {&run_distance, "dist", {x, y, 2.}, {kRows, kRows}},
               {&run_distance, "dist", {x, y, kInfinity}, {kRows, kColumns}},
               {&run_foreach_norm, "_foreach_norm.Scalar", {list, 2., kNone}, {kRows, {}, kSplit}}});
}

TEST(LayerNormComposite, ForwardAndBackward) {
  const at::Tensor x = waves({3, 5}) + 2, weight = waves({5}).cos(), bias = waves({5}), grad = waves({3, 5}).cos();
  const std::vector<int64_t> shape{5};
  expect_same({{&run_layer_norm, "native_layer_norm", {x, shape, weight, bias, kEpsilon}, {kColumns, kSplit, kSplit}},
               {&run_layer_norm, "native_layer_norm", {x, shape, kNone, kNone, kEpsilon}, {kColumns}}});
  const auto [out, mean, rstd] = at::native_layer_norm(x, shape, weight, bias, kEpsilon);
  for (const auto& some : {wanted(true, true, true), wanted(true, false, false), wanted(false, true, true)}) {
    expect_same({{&run_layer_norm_backward,
                  "native_layer_norm_backward",
                  {grad, x, shape, mean, rstd, weight, bias, some},
                  {kColumns, kColumns, kWholeRows, kWholeRows, kSplit, kSplit},
                  1e-4}});
  }
}

TEST(GroupNormComposite, ForwardAndBackward) {
  const at::Tensor x = waves({2, 6, 5, 4}) + 2, weight = waves({6}).cos(), bias = waves({6}),
                   grad = waves({2, 6, 5, 4}).cos();
  const Axes image{{}, {}, {"x"}, {}}, channels{{}, {"x"}, {}, {}};
  for (const int64_t groups : {1, 2, 6}) {
    const auto [out, mean, rstd] = at::native_group_norm(x, weight, bias, 2, 6, 20, groups, kEpsilon);
    for (const Axes& axes : {image, channels}) {
      expect_same({{&run_group_norm,
                    "native_group_norm",
                    {x, weight, bias, 2, 6, 20, groups, kEpsilon},
                    {axes, kWhole, kWhole}},
                   {&run_group_norm, "native_group_norm", {x, kNone, kNone, 2, 6, 20, groups, kEpsilon}, {axes}}});
      for (const auto& some : {wanted(true, true, true), wanted(true, false, false), wanted(false, true, true)}) {
        expect_same({{&run_group_norm_backward,
                      "native_group_norm_backward",
                      {grad, x, mean, rstd, weight, 2, 6, 20, groups, some},
                      {axes, axes, kWholeRows, kWholeRows, kWhole},
                      1e-4}});
      }
    }
  }
}

TEST(RmsNormComposite, IsTakenOverTheWholeDimension) {
  const at::Tensor x = waves({3, 5}) + 2, weight = waves({5}).cos();
  const std::vector<int64_t> shape{5};
  expect_same({{&run_rms_norm, "_fused_rms_norm", {x, shape, weight, kEpsilon}, {kColumns, kSplit}},
               {&run_rms_norm, "_fused_rms_norm", {x, shape, kNone, kNone}, {kColumns}}});
}

// Core has a kernel of it on GPUs alone: against the gradients of the formula.
TEST(RmsNormComposite, BackwardIsTheFormulasGradient) {
  const at::Tensor x = waves({3, 5}) + 2, weight = waves({5}).cos(), grad = waves({3, 5}).cos();
  const at::Tensor leaf = x.clone().requires_grad_(), of_weight = weight.clone().requires_grad_();
  const at::Tensor rstd = (leaf * leaf).mean({1}, true).add(kEpsilon).rsqrt();
  (leaf * rstd * of_weight).backward(grad);
  for (const bool both : {true, false}) {
    const Values arguments{grad, x, std::vector<int64_t>{5}, rstd.detach(), weight, c10::List<bool>({true, both})};
    const Values plain{leaf.grad(), both ? of_weight.grad() : at::Tensor()};
    test::run_ranks(3, [&](int) {
      const Mesh mesh = test::line(3);
      const Layout columns = TensorLayout::from_names(mesh, kColumns);
      Values stack = test::laid_out(
          arguments, {columns, columns, TensorLayout::replicated(mesh, 2), TensorLayout::from_names(mesh, kSplit)});
      {
        const BelowAutograd guard;
        run_rms_norm_backward(test::op_named("_fused_rms_norm_backward"), stack);
      }
      EXPECT_EQ(test::difference(stack, plain, 1e-4), "");
    });
  }
}

TEST(BatchNormComposite, HasTheStatisticsOfTheWholeBatch) {
  const at::Tensor x = waves({5, 3, 2}) + 2, grad = waves({5, 3, 2}).cos(), weight = waves({3}).cos();
  const at::Tensor bias = waves({3}), mean = at::zeros({3}), variance = at::ones({3});
  expect_same({{&run_batch_norm,
                "native_batch_norm",
                {x, weight, bias, mean, variance, true, 0.1, kEpsilon},
                {kBatch, kWhole, kWhole, kWhole, kWhole},
                1e-4}});
  const auto [out, saved_mean, saved_rstd] =
      at::native_batch_norm(x, weight, bias, mean.clone(), variance.clone(), true, 0.1, kEpsilon);
  expect_same({{&run_batch_norm_backward,
                "native_batch_norm_backward",
                {grad, x, weight, mean, variance, saved_mean, saved_rstd, true, kEpsilon, wanted(true, true, true)},
                {kBatch, kBatch, kWhole, kWhole, kWhole, kWhole, kWhole},
                1e-4}});
}

TEST(BatchNormComposite, KeepsTheRunningStatistics) {
  const at::Tensor x = waves({5, 3, 2}) + 2, mean = at::zeros({3}), variance = at::ones({3});
  at::native_batch_norm(x, {}, {}, mean, variance, true, 0.25, kEpsilon);
  test::run_ranks(3, [&](int) {
    const Mesh mesh = test::line(3);
    Values stack = test::laid_out({x, kNone, kNone, at::zeros({3}), at::ones({3}), true, 0.25, kEpsilon},
                                  {TensorLayout::from_names(mesh, kBatch), TensorLayout::replicated(mesh, 1),
                                   TensorLayout::from_names(mesh, kSplit)});
    const Values running{stack[3], stack[4]};
    const BelowAutograd guard;
    run_batch_norm(test::op_named("native_batch_norm"), stack);
    EXPECT_EQ(test::difference(running, {mean, variance}), "");
  });
}

}  // namespace
}  // namespace weft
