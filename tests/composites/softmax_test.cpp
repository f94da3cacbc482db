// Softmax over split dimensions, and dropout.
#include <ATen/record_function.h>
#include <weft/tensor.h>

#include <string_view>

#include "composites/case.h"
#include "random/mode.h"

namespace weft {
namespace {

const test::Splits kRows{{{"x"}, {}}}, kColumns{{{}, {"x"}}};

TEST(SoftmaxComposite, IsTakenOverTheWholeDimension) {
  const at::Tensor x = waves({5, 4});
  for (const bool first : {true, false}) {
    const int64_t dim = first ? 0 : -1;
    const auto& splits = first ? kRows : kColumns;
    expect_same({{&run_softmax, "_softmax", {x, dim, false}, splits},
                 {&run_softmax, "_softmax", {x + 1e4, dim, false}, splits, 1e-3},  // exp() of these alone is infinite
                 {&run_log_softmax, "_log_softmax", {x, dim, false}, splits},
                 {&run_log_softmax, "_log_softmax", {x - 1e4, dim, false}, splits, 1e-3}});
  }
}

TEST(SoftmaxComposite, OfARowThatIsMaskedOutIsZeroWhereItIsSafe) {
  at::Tensor x = waves({3, 5});
  x[1].fill_(-kInfinity);
  x[2].slice(0, 0, 3).fill_(-kInfinity);  // the first rank's part
  expect_same({{&run_safe_softmax, "_safe_softmax", {x, 1, kNone}, kColumns},
               {&run_safe_softmax, "_safe_softmax", {x, 1, at::kDouble}, kColumns}});
}

// Of so many rows the largest and the sum are reduced, one after the other: parts of all ranks are more bytes.
TEST(SoftmaxComposite, OfManyRowsIsTheSame) {
  at::Tensor x = waves({40000, 5});
  x[1].fill_(-kInfinity);
  x[2].slice(0, 0, 2).fill_(-kInfinity);
  const at::Tensor rows = x.slice(0, 2);
  expect_same({{&run_softmax, "_softmax", {rows, 1, false}, kColumns},
               {&run_safe_softmax, "_safe_softmax", {x, 1, kNone}, kColumns},
               {&run_log_softmax, "_log_softmax", {rows, 1, false}, kColumns}});
}

TEST(SoftmaxComposite, IsNaNWhereAnElementIs) {
  at::Tensor x = waves({4, 5});
  x[0][4] = kInfinity;
  x[1][0] = std::numeric_limits<float>::quiet_NaN();
  x[2].fill_(-kInfinity);
  expect_same({{&run_softmax, "_softmax", {x, 1, false}, kColumns},
               {&run_log_softmax, "_log_softmax", {x, 1, false}, kColumns}});
}

TEST(SoftmaxComposite, IsAccumulatedInFloatForHalfPrecision) {
  const at::Tensor x = waves({2, 400}, at::kBFloat16);
  expect_same({{&run_softmax, "_softmax", {x, 1, false}, kColumns, 1e-2},
               {&run_log_softmax, "_log_softmax", {x, 1, false}, kColumns, 1e-2},
               {&run_logsumexp, "logsumexp", {x, std::vector<int64_t>{1}, false}, kColumns, 1e-2}});
}

TEST(SoftmaxBackwardComposite, SumsOverTheWholeDimension) {
  const at::Tensor grad = waves({5, 4}), x = waves({5, 4}).cos(), y = x.softmax(0);
  const test::Splits both{kRows[0], kRows[0]};
  expect_same({{&run_softmax_backward, "_softmax_backward_data", {grad, y, 0, at::kFloat}, both},
               {&run_log_softmax_backward, "_log_softmax_backward_data", {grad, y.log(), 0, at::kFloat}, both}});
}

// Beside a part in which all is masked out, the others' sums are not lost; of many rows the largest is reduced first.
TEST(LogSumExpComposite, OfPartsThatAreFarApart) {
  const std::vector<int64_t> columns{1};
  at::Tensor x = waves({4, 5}) - 1000;
  x.slice(1, 0, 2).fill_(-kInfinity);
  x[3][4] = std::numeric_limits<float>::quiet_NaN();
  expect_same({{&run_logsumexp, "logsumexp", {x, columns, false}, kColumns},
               {&run_logsumexp, "logsumexp", {waves({40000, 5}) - 1000, columns, true}, kColumns, 1e-3}});
}

TEST(LogSumExpComposite, TakesInfinitiesAndWholeNumbers) {
  const std::vector<int64_t> columns{1}, both{0, 1};
  at::Tensor x = waves({4, 5});
  x[0][4] = kInfinity;
  x[1].fill_(-kInfinity);
  for (const bool keepdim : {false, true}) {
    expect_same({{&run_logsumexp, "logsumexp", {x, columns, keepdim}, kColumns},
                 {&run_logsumexp, "logsumexp", {waves({4, 5}), both, keepdim}, kColumns},
                 {&run_logsumexp, "logsumexp", {at::arange(20).view({4, 5}), columns, keepdim}, kColumns}});
  }
}

TEST(LogSumExpComposite, OfIntegersIsOfTheDefaultDtype) {
  const auto before = c10::get_default_dtype();
  c10::set_default_dtype(caffe2::TypeMeta::Make<double>());
  expect_same({{&run_logsumexp, "logsumexp", {at::arange(20).view({4, 5}), std::vector<int64_t>{1}, false}, kColumns}});
  c10::set_default_dtype(before);
}

// Of which a GPU's kernel draws another stream than bernoulli_ does there.
TEST(DropoutComposite, ReplaysCoresOwnOp) {
  const at::Tensor x = waves({5, 4});
  test::run_ranks(1, [&](int) {
    static thread_local int dropped;
    dropped = 0;
    const auto count = [](const at::RecordFunction& fn) -> std::unique_ptr<at::ObserverContext> {
      dropped += std::string_view(fn.name()) == "aten::native_dropout";
      return nullptr;
    };
    const auto handle = at::addThreadLocalCallback(at::RecordFunctionCallback(count));
    const random::ModeScope replay(random::Mode::replay);
    at::manual_seed(3);
    const at::Tensor want = std::get<0>(at::native_dropout(x, 0.4, true));
    EXPECT_EQ(dropped, 1);
    Values stack = test::laid_out({x, 0.4, true}, {TensorLayout::from_names(test::line(1), kRows[0])});
    const BelowAutograd guard;
    at::manual_seed(3);
    run_native_dropout(test::op_named("native_dropout"), stack);
    at::removeCallback(handle);
    EXPECT_EQ(dropped, 2);
    EXPECT_TRUE(at::equal(local_tensor(stack.at(0).toTensor()), want));
  });
}

// Ranks that are threads draw from one generator, so that only each one's own part is looked at.
TEST(DropoutComposite, ScalesWhatItKeeps) {
  const at::Tensor x = waves({5, 4});
  expect_same({{&run_native_dropout, "native_dropout", {x, 0.5, false}, kRows}});
  test::run_ranks(3, [&](int) {
    for (const double p : {0., 0.75, 1.}) {
      Values stack = test::laid_out({x, p, true}, {TensorLayout::from_names(test::line(3), kRows[0])});
      const at::Tensor part = local_tensor(stack[0].toTensor());
      const BelowAutograd guard;
      run_native_dropout(test::op_named("native_dropout"), stack);
      const at::Tensor out = local_tensor(stack.at(0).toTensor()), mask = local_tensor(stack.at(1).toTensor());
      EXPECT_TRUE(at::equal(out, part.mul(mask).mul(p == 1 ? 0 : 1 / (1 - p)))) << p;
      if (p == 0.75) continue;
      EXPECT_TRUE(at::equal(mask, at::full_like(mask, p == 0))) << p;
    }
  });
}

}  // namespace
}  // namespace weft
