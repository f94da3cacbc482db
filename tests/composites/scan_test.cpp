// Running sums along split dimensions, and the scatter that takes an entry for each chosen place.
#include <weft/tensor.h>

#include "composites/case.h"

namespace weft {
namespace {

const test::Splits kRows{{{"x"}, {}}}, kColumns{{{}, {"x"}}};

TEST(ScanComposite, GoesOnFromTheParts) {
  const at::Tensor x = waves({5, 4}), whole = at::arange(20).view({5, 4}).remainder(3) + 1;
  for (const int64_t dim : {0, -1}) {
    const auto& splits = dim == 0 ? kRows : kColumns;
    expect_same({{&run_cumsum, "cumsum", {x, dim, kNone}, splits},
                 {&run_cumsum, "cumsum", {whole.to(at::kInt), dim, kNone}, splits},
                 {&run_cumsum, "cumsum", {whole.gt(1), dim, kNone}, splits},
                 {&run_cumsum, "cumsum", {x, dim, at::kDouble}, splits},
                 {&run_cumprod, "cumprod", {x, dim, kNone}, splits},
                 {&run_cumprod, "cumprod", {whole, dim, at::kDouble}, splits},
                 {&run_logcumsumexp, "logcumsumexp", {x, dim}, splits}});
  }
}

TEST(ScanComposite, KeepsWhatIsNoNumberFromWhereItIs) {
  at::Tensor x = waves({4, 5});
  x[0][1] = kInfinity;
  x[1][3] = std::numeric_limits<float>::quiet_NaN();
  x[2].slice(0, 0, 3).fill_(-kInfinity);  // all of the first rank's part
  expect_same({{&run_cumsum, "cumsum", {x, 1, kNone}, kColumns},
               {&run_cumprod, "cumprod", {x, 1, kNone}, kColumns},
               {&run_logcumsumexp, "logcumsumexp", {x, 1}, kColumns}});
}

TEST(ScanComposite, IsAccumulatedInFloatForHalfPrecision) {
  const at::Tensor x = waves({2, 400}, at::kBFloat16);
  expect_same({{&run_cumsum, "cumsum", {x, 1, kNone}, kColumns, 1e-2},
               {&run_logcumsumexp, "logcumsumexp", {x, 1}, kColumns, 1e-2}});
}

TEST(MaskedScatterComposite, CountsWhatOtherPartsChoose) {
  const at::Tensor x = waves({5, 4}), mask = x.gt(0), source = at::arange(30.).view({3, 10});
  const int64_t chosen = mask.sum().item<int64_t>();
  const test::Splits both{kRows[0], kRows[0], {{}, {"x"}}}, one{kRows[0], {}, {}};
  expect_same({{&run_masked_scatter, "masked_scatter", {x, mask, source}, both},
               {&run_masked_scatter, "masked_scatter", {x, mask, source}, one},
               {&run_masked_scatter, "masked_scatter", {x, mask, source.flatten().slice(0, 0, chosen)}, one},
               {&run_masked_scatter, "masked_scatter", {x, at::zeros_like(mask), at::zeros({0})}, one},
               // The rows, and the columns, of the other one are all alike.
               {&run_masked_scatter, "masked_scatter", {x, mask.select(1, 0).unsqueeze(1), source}, both},
               {&run_masked_scatter, "masked_scatter", {x, mask[0], source}, one},
               {&run_masked_scatter, "masked_scatter", {x[0], mask, source}, {{}, kRows[0], {}}},
               {&run_masked_scatter, "masked_scatter", {at::ones({0, 5, 4}), mask, source}, {{}, kRows[0], {}}},
               // Each row is cut.
               {&run_masked_scatter, "masked_scatter", {x, mask, source}, {kColumns[0], {}, {}}},
               {&run_masked_scatter, "masked_scatter", {x, mask, source}, {kColumns[0], kRows[0], {}}},
               {&run_masked_scatter, "masked_scatter", {x[0], mask, source}, {{{"x"}}, {}, {}}},
               {&run_masked_scatter,
                "masked_scatter",
                {x.view({5, 2, 2}), mask[0].view({2, 2}), source},
                {{{}, {"x"}, {}}, {}, {}}}});
}

TEST(MaskedScatterComposite, GivesTheSourceItsGradient) {
  const at::Tensor gradient = waves({5, 4}), mask = gradient.gt(0);
  const int64_t chosen = mask.sum().item<int64_t>();
  const test::Splits columns{kColumns[0], {}};
  for (const auto& sizes : {std::vector<int64_t>{chosen}, std::vector<int64_t>{3, 10}}) {
    expect_same(
        {{&run_masked_scatter_backward, "masked_scatter_backward", {gradient, mask, sizes}, {kRows[0], kRows[0]}},
         {&run_masked_scatter_backward, "masked_scatter_backward", {gradient, mask, sizes}, {kRows[0], {}}},
         {&run_masked_scatter_backward, "masked_scatter_backward", {gradient, mask, sizes}, columns}});
  }
}

}  // namespace
}  // namespace weft
