// Losses over split dimensions.
#include "composites/case.h"

namespace weft {
namespace {

TEST(LossComposite, OfMeansIsThatOfAllEntries) {
  const at::Tensor x = waves({5, 4}), target = waves({5, 4}).cos(), row = waves({4}), grad = at::full({}, 2.f);
  constexpr int64_t kMean = 1;
  const std::vector<std::vector<std::string>> split{{"x"}, {}};
  expect_same({{&run_mean_loss, "mse_loss", {x, target, kMean}, {split, split}},
               {&run_mean_loss, "mse_loss", {x, row, kMean}, {split, {}}},
               {&run_mean_loss_backward, "mse_loss_backward", {grad, x, target, kMean}, {{}, split, split}}});
}

TEST(LossComposite, OfManyHalvesStaysInTheirRange) {
  const at::Tensor x = at::full({300, 400}, 3, at::kHalf), target = at::zeros({300, 400}, at::kHalf);
  constexpr int64_t kMean = 1;
  const std::vector<std::vector<std::string>> split{{"x"}, {}};
  expect_same({{&run_mean_loss, "mse_loss", {x, target, kMean}, {split, split}}});
}

TEST(LossComposite, OfClassesDividesByTheWeightOfAllRows) {
  const at::Tensor scores = waves({5, 4}).log_softmax(1), target = at::tensor({1, 3, 0, 3, 2}, at::kLong);
  const at::Tensor weight = at::tensor({0.5, 2., 1., 4.}, at::kFloat);
  constexpr int64_t kMean = 1;
  const test::Splits rows{{{"x"}, {}}, {{"x"}}}, classes{{{}, {"x"}}, {}}, both{{{}, {"x"}}, {{"x"}}};
  for (const auto& splits : {rows, classes, both}) {
    for (const int64_t ignored : {-100, 3}) {
      expect_same({{&run_nll_loss, "nll_loss_forward", {scores, target, kNone, kMean, ignored}, splits},
                   {&run_nll_loss, "nll_loss_forward", {scores, target, weight, kMean, ignored}, splits}});
    }
  }
  const at::Tensor bytes = target.to(at::kByte), many = at::full({5}, 156, at::kByte);  // -100 as a byte
  expect_same({{&run_nll_loss, "nll_loss_forward", {scores, bytes, weight, kMean, -100}, classes},
               {&run_nll_loss, "nll_loss_forward", {waves({5, 157}), many, kNone, kMean, -100}, both}});
  const at::Tensor none = at::full({5}, 3, at::kLong);  // all are ignored: NaN
  expect_same({{&run_nll_loss, "nll_loss_forward", {scores, none, kNone, kMean, 3}, rows},
               {&run_nll_loss, "nll_loss_forward", {scores, none, kNone, kMean, 3}, classes}});
}

}  // namespace
}  // namespace weft
