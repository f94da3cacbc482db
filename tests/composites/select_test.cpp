// Which entry is largest, whether any is true, whether any is not finite: over split dimensions.
#include <weft/tensor.h>

#include <limits>

#include "composites/case.h"

namespace weft {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
const test::Splits kRows{{{"x"}, {}}}, kColumns{{{}, {"x"}}};

TEST(ExtremeComposite, IsTheFirstOfEqualOnesOverAllShards) {
  const at::Tensor ties = at::tensor({1, 7, 3, 7, 7, 0, 2, 0, 0, 1}).view({2, 5});
  for (const bool keepdim : {false, true}) {
    expect_same({{&run_argmax, "argmax", {ties, 1, keepdim}, kColumns},
                 {&run_argmin, "argmin", {ties, 1, keepdim}, kColumns},
                 {&run_max, "max.dim", {ties, 1, keepdim}, kColumns},
                 {&run_min, "min.dim", {ties, -1, keepdim}, kColumns}});
  }
  expect_same({{&run_argmax, "argmax", {ties, kNone, false}, kColumns},
               {&run_argmin, "argmin", {ties.t().contiguous(), kNone, false}, kRows}});
}

TEST(ExtremeComposite, IsTheFirstNanWhereThereIsAny) {
  at::Tensor x = waves({3, 5});
  x[0][1] = kNan;
  x[0][4] = kNan;
  x[1][3] = kNan;
  x[2][0] = kInfinity;
  expect_same({{&run_argmax, "argmax", {x, 1, false}, kColumns},
               {&run_argmin, "argmin", {x, 1, false}, kColumns},
               {&run_max, "max.dim", {x, 1, true}, kColumns},
               {&run_min, "min.dim", {x, 1, false}, kColumns}});
}

TEST(TruthComposite, IsFoundOnWhicheverShardItIs) {
  for (int64_t place = -1; place < 5; ++place) {
    const at::Tensor one = at::zeros({5, 2}, at::kBool);
    if (place >= 0) one[place][1].fill_(true);
    const at::Tensor bytes = one.to(at::kByte), none = one.logical_not();
    expect_same({{&run_any, "any", {one}, kRows},
                 {&run_any, "any.dim", {one, 0, false}, kRows},
                 {&run_any, "any.dim", {bytes, 0, true}, kRows},
                 {&run_any, "any.dims", {one, std::vector<int64_t>{0, 1}, false}, kRows},
                 {&run_all, "all", {none}, kRows},
                 {&run_all, "all.dim", {none, 0, true}, kRows}});
  }
}

TEST(AllCloseComposite, TellsAllRanksWhatOneFinds) {
  const at::Tensor x = waves({5, 2});
  for (int64_t place = -1; place < 5; ++place) {
    const at::Tensor y = x.clone();
    if (place >= 0) y[place][0].add_(1);
    expect_same({{&run_allclose, "allclose", {x, y, 1e-5, 1e-8, false}, {kRows[0], kRows[0]}}});
  }
}

TEST(SqueezeComposite, LeavesWhatHasOneEntryOnAShardAlone) {
  const std::vector<std::vector<std::string>> split{{"x"}, {}, {}};
  for (const int64_t rows : {1, 3, 4}) {
    const at::Tensor x = waves({rows, 1, 2});
    expect_same({{&run_squeeze, "squeeze", {x}, {split}},
                 {&run_squeeze, "squeeze.dim", {x, 0}, {split}},
                 {&run_squeeze_copy, "squeeze_copy.dim", {x, -2}, {split}}});
  }
}

const char* const kUnscale = "_amp_foreach_non_finite_check_and_unscale_";

TEST(UnscaleComposite, FindsWhatIsNotFiniteOnAnyShard) {
  for (int64_t place = -1; place < 5; ++place) {
    const at::Tensor grad = waves({5}), other = waves({2, 3});
    if (place >= 0) grad[place].fill_(place % 2 == 0 ? kInfinity : kNan);
    for (const float before : {0.f, 1.f}) {
      test::run_ranks(4, [&](int) {
        const Layout split = TensorLayout::from_names(test::line(4), {{"x"}});
        const at::Tensor sharded = distribute_tensor(grad.clone(), split), plain = other.clone();
        const at::Tensor found = at::full({1}, before);
        Values stack{c10::List<at::Tensor>({sharded, plain}), found, at::full({1}, 0.5f)};
        const BelowAutograd guard;
        run_unscale(test::op_named(kUnscale), stack);
        EXPECT_TRUE(stack.empty());
        EXPECT_EQ(found.item<float>(), place >= 0 || before == 1 ? 1 : 0) << place;
        EXPECT_EQ(test::difference({sharded, plain}, {grad * 0.5, other * 0.5}), "");
      });
    }
  }
}

// Parts may be finite whose sum is not.
TEST(UnscaleComposite, LooksAtTheSumOfWhatIsPending) {
  test::run_ranks(2, [](int) {
    const at::Tensor x = at::full({2, 3}, std::numeric_limits<float>::max());
    const at::Tensor sum = distribute_tensor(x, TensorLayout::from_names(test::line(2), {{"x"}, {}})).sum(0);
    ASSERT_TRUE(layout_of(sum)->has_partial());
    const at::Tensor found = at::zeros({1});
    Values stack{c10::List<at::Tensor>({sum}), found, at::ones({1})};
    const BelowAutograd guard;
    run_unscale(test::op_named(kUnscale), stack);
    EXPECT_EQ(found.item<float>(), 1);
  });
}

}  // namespace
}  // namespace weft
