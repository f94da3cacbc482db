// Sparse tensors beside sharded ones, plain (the same on every rank) and with a layout.
#include "dispatch/sparse.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/tensor.h>

#include "support/boxed.h"
#include "support/outcome.h"
#include "support/run_ranks.h"
#include "support/sent.h"

namespace weft {
namespace {

using test::difference;
using test::error_of;
using test::line;
using test::run_ranks;
using ::testing::HasSubstr;
using Axes = std::vector<std::vector<std::string>>;

at::Tensor numbers() { return at::arange(25, at::kFloat).view({5, 5}); }
Layout layout(const Axes& axes) { return TensorLayout::from_names(line(3), axes); }
const std::vector<Axes> kLayouts = {{{"x"}, {}}, {{}, {"x"}}, {{}, {}}};

// Rows; single entries. Some of them twice.
std::vector<at::Tensor> sparse_ones() {
  const at::Tensor rows = at::tensor({4, 0, 4}, at::kLong).view({1, 3}),
                   values = at::arange(15, at::kFloat).view({3, 5});
  const at::Tensor places = at::tensor({4, 0, 2, 4, 3, 1, 2, 3}, at::kLong).view({2, 4});
  return {at::sparse_coo_tensor(rows, values, {5, 5}),
          at::sparse_coo_tensor(places, at::arange(1, 5, at::kFloat), {5, 5}),
          at::sparse_coo_tensor(rows.slice(1, 0, 0), values.slice(0, 0, 0), {5, 5})};
}

TEST(Sparse, AreAddedToEachShardForNothing) {
  const test::Sent sent;
  for (const Axes& axes : kLayouts) {
    run_ranks(3, [&](int rank) {
      const at::Tensor x = distribute_tensor(numbers(), layout(axes)), plain = numbers();
      sent.clear();
      for (const at::Tensor& sparse : sparse_ones()) {
        for (const at::Tensor& t : {plain, x}) t.add_(sparse, -2);
      }
      EXPECT_EQ(sent.count(rank), 0u);
      EXPECT_EQ(layout_of(x), layout(axes));
      EXPECT_EQ(difference({x}, {plain}), "") << layout(axes)->str();
    });
  }
}

TEST(Sparse, SumsAreNewTensors) {
  for (const Axes& axes : kLayouts) {
    run_ranks(3, [&](int) {
      const at::Tensor x = distribute_tensor(numbers(), layout(axes));
      for (const at::Tensor& sparse : sparse_ones()) {
        EXPECT_EQ(difference({x + sparse, x + sparse.to(at::kDouble)},
                             {numbers() + sparse, numbers() + sparse.to(at::kDouble)}),
                  "");
      }
      EXPECT_EQ(difference({x}, {numbers()}), "");
    });
  }
}

TEST(Sparse, AreAddedToWhatIsPendingOnce) {
  run_ranks(3, [](int) {
    const at::Tensor base = at::arange(75, at::kFloat).view({3, 5, 5});
    const at::Tensor x = distribute_tensor(base, layout({{"x"}, {}, {}})).sum(0), plain = base.sum(0);
    ASSERT_TRUE(layout_of(x)->has_partial());
    for (const at::Tensor& t : {plain, x}) t.add_(sparse_ones()[1]);
    EXPECT_EQ(difference({x}, {plain}), "");
  });
}

TEST(Sparse, MasksChooseFromTheWhole) {
  for (const Axes& axes : kLayouts) {
    run_ranks(3, [&](int) {
      const at::Tensor x = distribute_tensor(numbers(), layout(axes));
      for (const at::Tensor& sparse : sparse_ones()) {
        const at::Tensor mask = sparse.coalesce(), got = x.sparse_mask(mask);
        EXPECT_EQ(layout_of(got), layout(axes));
        EXPECT_TRUE(at::equal(full_tensor(got).to_dense(), numbers().sparse_mask(mask).to_dense()))
            << layout(axes)->str();
      }
    });
  }
}

TEST(Sparse, OtherOpsWithThemAreRefused) {
  run_ranks(3, [](int) {
    const at::Tensor x = distribute_tensor(numbers(), layout(kLayouts[0])), sparse = sparse_ones()[0];
    EXPECT_THAT(error_of<c10::NotImplementedError>([&] { sparse.add(x); }), HasSubstr("write sharded + sparse"));
    EXPECT_THAT(error_of<c10::Error>([&] { x.add_(at::ones({4, 5}).to_sparse()); }),
                HasSubstr("a sparse tensor of shape [4, 5] cannot be added to one of shape [5, 5]"));
    EXPECT_NE(error_of<c10::NotImplementedError>([&] { at::mul(x, sparse); }), "");
    EXPECT_EQ(difference({x}, {numbers()}), "");
  });
}

}  // namespace
}  // namespace weft
