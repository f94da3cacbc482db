// Means and variances over split dimensions, and how many collectives they and the normalizations take.
#include "composites/moments.h"

#include <weft/tensor.h>

#include <functional>

#include "composites/case.h"
#include "support/sent.h"

namespace weft {
namespace {

const test::Splits kRows{{{"x"}, {}}}, kColumns{{{}, {"x"}}};

TEST(MeanComposite, IsThatOfTheWhole) {
  const at::Tensor x = waves({5, 4}), half = waves({5, 400}, at::kHalf) + 100;
  const std::vector<int64_t> rows{0}, all{0, 1};
  expect_same({{&run_mean, "mean", {x, kNone}, kRows},
               {&run_mean, "mean", {x, at::kDouble}, kColumns},
               {&run_mean, "mean.dim", {x, rows, true, kNone}, kRows},
               {&run_mean, "mean.dim", {x, kNone, false, kNone}, kColumns},
               {&run_mean, "mean.dim", {half, all, false, kNone}, kColumns, 1e-3}});  // the sum is beyond Half's range
}

TEST(VarianceComposite, CentersAtTheMeanOfTheWhole) {
  const at::Tensor x = waves({5, 4}) + 50, z = at::complex(waves({5, 4}), waves({5, 4}).cos());
  const std::vector<int64_t> rows{0};
  for (const c10::IValue& correction : {c10::IValue(), c10::IValue(0), c10::IValue(2)}) {
    expect_same({{&run_variance, "var.correction", {x, rows, correction, false}, kRows, 1e-4},
                 {&run_deviation, "std.correction", {x, rows, correction, true}, kRows, 1e-4},
                 {&run_variance, "var_mean.correction", {x, rows, correction, false}, kRows, 1e-4},
                 {&run_deviation, "std_mean.correction", {x, kNone, correction, true}, kRows, 1e-4},
                 {&run_variance, "var.correction", {z, rows, correction, false}, kRows, 1e-4}});
  }
}

// Of so many columns the mean is reduced, then the squares: all parts' moments are more bytes.
TEST(VarianceComposite, OfManyColumnsIsTheSame) {
  const std::vector<int64_t> rows{0};
  const at::Tensor x = waves({5, 100000}) + 50;
  expect_same({{&run_variance, "var_mean.correction", {x, rows, kNone, false}, kRows, 1e-4}});
}

// Far from zero sums of squares have no digits left.
TEST(VarianceComposite, KeepsItsDigitsFarFromZero) {
  const std::vector<int64_t> rows{0};
  const at::Tensor x = waves({50, 4}) + 1e4 * at::arange(4);
  expect_same({{&run_variance, "var_mean.correction", {x, rows, kNone, false}, kRows, 1e-3}});
}

TEST(VarianceComposite, IsNaNWhereAnElementIs) {
  const std::vector<int64_t> rows{0};
  at::Tensor x = waves({5, 4});
  x[4][1] = kInfinity;
  x[0][2] = std::numeric_limits<float>::quiet_NaN();
  expect_same({{&run_variance, "var_mean.correction", {x, rows, kNone, false}, kRows},
               {&run_variance, "var_mean.correction", {waves({1, 4}), rows, kNone, false}, kRows},
               {&run_variance, "var_mean.correction", {waves({0, 4}), rows, kNone, false}, kRows}});
}

// By the calling rank.
std::vector<std::string> sent_by(const std::function<void()>& run) {
  const auto before = static_cast<int64_t>(test::Sent::by(context().rank()).size());
  const BelowAutograd guard;
  run();
  const auto all = test::Sent::by(context().rank());
  return {all.begin() + before, all.end()};
}

TEST(Moments, TakeOneCollective) {
  const test::Sent sent;
  test::run_ranks(2, [&](int) {
    const Mesh mesh = test::line(2);
    const Layout rows = TensorLayout::from_names(mesh, {{"x"}, {}}), whole = TensorLayout::replicated(mesh, 1);
    const at::Tensor x = distribute_tensor(waves({6, 4}), rows), weight = distribute_tensor(at::ones({4}), whole);
    at::Tensor mean, rstd;
    EXPECT_THAT(sent_by([&] {
                  auto [out, m, r] = at::native_batch_norm(x, weight, weight, {}, {}, true, 0.1, 1e-5);
                  mean = m, rstd = r;
                }),
                testing::ElementsAre("all_gather x"));
    const auto backward = [&](bool of_input) {
      return sent_by([&] {
        at::native_batch_norm_backward(x, x, weight, {}, {}, mean, rstd, true, 1e-5, {of_input, true, true});
      });
    };
    EXPECT_THAT(backward(true), testing::ElementsAre("all_reduce x"));
    EXPECT_THAT(backward(false), testing::IsEmpty());  // they go with other gradients
    const std::vector<int64_t> shape{6}, dims{0};
    Values variance{x, dims, kNone, false}, norm{x.t(), shape, kNone, kNone, 1e-5};
    EXPECT_THAT(sent_by([&] { run_variance(test::op_named("var_mean.correction"), variance); }),
                testing::ElementsAre("all_gather x"));
    EXPECT_THAT(sent_by([&] { run_layer_norm(test::op_named("native_layer_norm"), norm); }),
                testing::ElementsAre("all_gather x"));
    Values gradient{x.t(), x.t(), shape, norm.at(1), norm.at(2), kNone, kNone, c10::List<bool>({true, false, false})};
    EXPECT_THAT(sent_by([&] { run_layer_norm_backward(test::op_named("native_layer_norm_backward"), gradient); }),
                testing::ElementsAre("all_reduce x"));
  });
}

}  // namespace
}  // namespace weft
