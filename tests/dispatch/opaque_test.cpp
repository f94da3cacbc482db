// Ops that are made of others, but read the memory of a tensor on their way.
#include "dispatch/opaque.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/tensor.h>

#include "support/boxed.h"
#include "support/outcome.h"
#include "support/run_ranks.h"

namespace weft {
namespace {

using test::difference;
using test::line;
using test::run_ranks;
using Axes = std::vector<std::vector<std::string>>;

at::Tensor numbers(at::IntArrayRef sizes) {
  return at::arange(c10::multiply_integers(sizes), at::kFloat).mul(1.7).sin().view(sizes);
}
Layout layout(const Axes& axes) { return TensorLayout::from_names(line(3), axes); }

TEST(Opaque, QuantilesAreOfTheWhole) {
  for (const Axes& axes : {Axes{{"x"}, {}}, Axes{{}, {"x"}}}) {
    run_ranks(3, [&](int) {
      const at::Tensor x = distribute_tensor(numbers({5, 4}), layout(axes));
      EXPECT_EQ(difference({at::quantile(x, 0.3, 0), at::nanquantile(x, 0.7)},
                           {at::quantile(numbers({5, 4}), 0.3, 0), at::nanquantile(numbers({5, 4}), 0.7)}),
                "");
    });
  }
}

TEST(Opaque, AreDifferentiable) {
  run_ranks(3, [](int) {
    const at::Tensor plain = numbers({5, 4}).requires_grad_();
    const at::Tensor x = distribute_tensor(numbers({5, 4}), layout({{"x"}, {}})).requires_grad_();
    for (const at::Tensor& leaf : {plain, x}) at::quantile(leaf, 0.3, 0).sum().backward();
    EXPECT_EQ(difference({x.grad()}, {plain.grad()}), "");
  });
}

TEST(TensorSplit, TakesPlacesInATensor) {
  run_ranks(3, [](int) {
    const at::Tensor places = at::tensor({1, 4}, at::kLong), number = at::full({}, 2, at::kLong);
    const at::Tensor x = distribute_tensor(numbers({5, 4}), layout({{"x"}, {}}));
    const at::Tensor sharded = distribute_tensor(places, layout({{"x"}}));
    for (const at::Tensor& where : {places, sharded}) {
      EXPECT_EQ(difference({at::tensor_split(x, where)}, {at::tensor_split(numbers({5, 4}), places)}), "");
    }
    EXPECT_EQ(difference({at::tensor_split(x, number, 1)}, {at::tensor_split(numbers({5, 4}), number, 1)}), "");
    EXPECT_NE(test::error_of<c10::Error>([&] { at::tensor_split(x, at::ones({1, 1}, at::kLong)); }), "");
  });
}

TEST(MaxPool1d, IsThatOfTheWhole) {
  for (const Axes& axes : {Axes{{"x"}, {}, {}}, Axes{{}, {}, {"x"}}}) {
    run_ranks(3, [&](int) {
      const at::Tensor x = distribute_tensor(numbers({3, 2, 7}), layout(axes));
      EXPECT_EQ(difference({at::max_pool1d(x, {3}, {2}, {1})}, {at::max_pool1d(numbers({3, 2, 7}), {3}, {2}, {1})}),
                "");
    });
  }
}

TEST(SetData, OfAPlainTensorToAShardedOneIsRefused) {
  run_ranks(3, [](int) {
    const at::Tensor x = distribute_tensor(numbers({5, 4}), layout({{"x"}, {}})), plain = numbers({5, 4});
    EXPECT_THAT(test::error_of<c10::NotImplementedError>([&] { plain.set_data(x); }),
                ::testing::HasSubstr("the data of a plain tensor of shape [5, 4] cannot be set to a sharded one"));
    EXPECT_EQ(difference({plain}, {numbers({5, 4})}), "");
  });
}

}  // namespace
}  // namespace weft
