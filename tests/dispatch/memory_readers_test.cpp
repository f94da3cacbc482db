// Ops that are made of others, but read the memory of a tensor on their way.
#include "dispatch/memory_readers.h"

#include "dispatch/names.h"

namespace weft {
namespace {

at::Tensor waves(at::IntArrayRef sizes) { return numbers(sizes).mul(1.7).sin(); }

TEST(MemoryReaders, QuantilesAreOfTheFullTensor) {
  for (const Axes& axes : {kRows, kColumns}) {
    run_ranks(3, [&](int) {
      const at::Tensor x = distribute_tensor(waves({5, 4}), layout(axes));
      EXPECT_EQ(difference({at::quantile(x, 0.3, 0), at::nanquantile(x, 0.7)},
                           {at::quantile(waves({5, 4}), 0.3, 0), at::nanquantile(waves({5, 4}), 0.7)}),
                "");
    });
  }
}

TEST(MemoryReaders, AreDifferentiable) {
  run_ranks(3, [](int) {
    const at::Tensor plain = waves({5, 4}).requires_grad_();
    const at::Tensor x = distribute_tensor(waves({5, 4}), layout(kRows)).requires_grad_();
    for (const at::Tensor& leaf : {plain, x}) at::quantile(leaf, 0.3, 0).sum().backward();
    EXPECT_EQ(difference({x.grad()}, {plain.grad()}), "");
  });
}

TEST(TensorSplit, TakesPlacesInATensor) {
  run_ranks(3, [](int) {
    const at::Tensor places = at::tensor({1, 4}, at::kLong), number = at::full({}, 2, at::kLong);
    const at::Tensor x = distribute_tensor(waves({5, 4}), layout(kRows));
    const at::Tensor sharded = distribute_tensor(places, layout({{"x"}}));
    for (const at::Tensor& where : {places, sharded}) {
      EXPECT_EQ(difference({at::tensor_split(x, where)}, {at::tensor_split(waves({5, 4}), places)}), "");
    }
    EXPECT_EQ(difference({at::tensor_split(x, number, 1)}, {at::tensor_split(waves({5, 4}), number, 1)}), "");
    EXPECT_NE(error_of<c10::Error>([&] { at::tensor_split(x, at::ones({1, 1}, at::kLong)); }), "");
  });
}

TEST(MaxPool1d, IsThatOfTheWhole) {
  for (const Axes& axes : {Axes{{"x"}, {}, {}}, Axes{{}, {}, {"x"}}}) {
    run_ranks(3, [&](int) {
      const at::Tensor x = distribute_tensor(waves({3, 2, 7}), layout(axes));
      EXPECT_EQ(difference({at::max_pool1d(x, {3}, {2}, {1})}, {at::max_pool1d(waves({3, 2, 7}), {3}, {2}, {1})}), "");
    });
  }
}

TEST(SetData, OfAPlainTensorToAShardedOneIsRefused) {
  run_ranks(3, [](int) {
    const at::Tensor x = distribute_tensor(waves({5, 4}), layout(kRows)), plain = waves({5, 4});
    EXPECT_THAT(error_of<c10::NotImplementedError>([&] { plain.set_data(x); }),
                HasSubstr("the data of a plain tensor f32[5, 4] cannot be set to a sharded one"));
    EXPECT_EQ(difference({plain}, {waves({5, 4})}), "");
  });
}

}  // namespace
}  // namespace weft
