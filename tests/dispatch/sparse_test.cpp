// Sparse tensors beside sharded ones, plain (the same on every rank) and with a layout.
#include "dispatch/sparse.h"

#include "dispatch/names.h"

namespace weft {
namespace {

const std::vector<Axes> kLayouts{kRows, kColumns, kWhole};

// Rows; single entries. Some of them twice.
std::vector<at::Tensor> sparse_ones() {
  const at::Tensor rows = at::tensor({4, 0, 4}, at::kLong).view({1, 3}),
                   values = at::arange(12, at::kFloat).view({3, 4});
  const at::Tensor places = at::tensor({4, 0, 2, 4, 3, 1, 2, 3}, at::kLong).view({2, 4});
  return {at::sparse_coo_tensor(rows, values, {5, 4}),
          at::sparse_coo_tensor(places, at::arange(1, 5, at::kFloat), {5, 4}),
          at::sparse_coo_tensor(rows.slice(1, 0, 0), values.slice(0, 0, 0), {5, 4})};
}

TEST(Sparse, AreAddedToEachShardForNothing) {
  const test::Sent sent;
  for (const Axes& axes : kLayouts) {
    run_ranks(3, [&](int rank) {
      const at::Tensor x = distribute_tensor(numbers({5, 4}), layout(axes)), plain = numbers({5, 4});
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
      const at::Tensor x = distribute_tensor(numbers({5, 4}), layout(axes));
      for (const at::Tensor& sparse : sparse_ones()) {
        EXPECT_EQ(difference({x + sparse, x + sparse.to(at::kDouble)},
                             {numbers({5, 4}) + sparse, numbers({5, 4}) + sparse.to(at::kDouble)}),
                  "");
      }
      EXPECT_EQ(difference({x}, {numbers({5, 4})}), "");
    });
  }
}

TEST(Sparse, AreAddedToWhatIsPendingOnce) {
  run_ranks(3, [](int) {
    const at::Tensor base = at::arange(60, at::kFloat).view({3, 5, 4});
    const at::Tensor x = distribute_tensor(base, layout({{"x"}, {}, {}})).sum(0), plain = base.sum(0);
    ASSERT_TRUE(layout_of(x)->has_partial());
    for (const at::Tensor& t : {plain, x}) t.add_(sparse_ones()[1]);
    EXPECT_EQ(difference({x}, {plain}), "");
  });
}

TEST(Sparse, MasksChooseFromEachShard) {
  for (const Axes& axes : kLayouts) {
    run_ranks(3, [&](int) {
      const at::Tensor x = distribute_tensor(numbers({5, 4}), layout(axes));
      for (const at::Tensor& sparse : sparse_ones()) {
        const at::Tensor mask = sparse.coalesce(), got = x.sparse_mask(mask);
        EXPECT_EQ(layout_of(got), layout(axes));
        const at::Tensor plain = numbers({5, 4}).sparse_mask(mask).to_dense();
        EXPECT_EQ(difference({got.to_dense(), full_tensor(got).to_dense()}, {plain, plain}), "") << layout(axes)->str();
      }
    });
  }
}

TEST(Sparse, OtherOpsWithThemAreRefused) {
  run_ranks(3, [](int) {
    const at::Tensor x = distribute_tensor(numbers({5, 4}), layout(kLayouts[0])), sparse = sparse_ones()[0];
    EXPECT_THAT(error_of<c10::NotImplementedError>([&] { sparse.add(x); }), HasSubstr("write sharded + sparse"));
    EXPECT_THAT(error_of<c10::Error>([&] { x.add_(at::ones({4, 4}).to_sparse()); }),
                HasSubstr("a sparse tensor of shape [4, 4] cannot be added to one of shape [5, 4]"));
    EXPECT_NE(error_of<c10::NotImplementedError>([&] { at::mul(x, sparse); }), "");
    EXPECT_EQ(difference({x}, {numbers({5, 4})}), "");
  });
}

}  // namespace
}  // namespace weft
