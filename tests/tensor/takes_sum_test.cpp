// The storage by which autograd's engine may add gradients up in a sharded tensor's memory.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/custom_function.h>
#include <weft/tensor.h>

#include "support/run_ranks.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

using test::line;
using test::run_ranks;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// In backward calls `look` on what nobody else holds, and whose shard nobody else holds.
struct Looks : torch::autograd::Function<Looks> {
  static thread_local void (*look)(at::Tensor& gradient);
  static at::Tensor forward(AutogradContext*, const at::Tensor& x) { return x.clone(); }
  static variable_list backward(AutogradContext*, variable_list gradients) {
    at::Tensor fresh = gradients[0].neg();
    look(fresh);
    return gradients;
  }
};
thread_local void (*Looks::look)(at::Tensor&) = nullptr;

at::Tensor gradient_past(void (*look)(at::Tensor& gradient)) {
  const at::Tensor plain = at::arange(8, at::kFloat).view({4, 2});
  const at::Tensor x =
      distribute_tensor(plain, TensorLayout::from_names(line(2), {{"x"}, {}})).detach().set_requires_grad(true);
  EXPECT_FALSE(x.has_storage());
  Looks::look = look;
  Looks::apply(x).sin().sum().backward();
  EXPECT_TRUE(at::allclose(full_tensor(x.grad()), plain.cos()));
  return x.grad();
}

TEST(TakesSum, IsWhatNobodyElseHoldsInBackward) {
  run_ranks(2, [](int) {
    gradient_past([](at::Tensor& gradient) {
      EXPECT_TRUE(gradient.has_storage());
      EXPECT_EQ(gradient.storage().use_count(), 1);
      EXPECT_TRUE(sharded(gradient).takes_sum());
      const at::Tensor held = gradient;
      EXPECT_FALSE(gradient.has_storage());
    });
  });
}

TEST(TakesSum, HasNoMemoryToRead) {
  run_ranks(2, [](int) {
    const at::Tensor grad = gradient_past([](at::Tensor& gradient) {
      EXPECT_THROW(gradient.data_ptr(), c10::Error);
      EXPECT_THROW(gradient.const_data_ptr<float>(), c10::Error);
      EXPECT_THROW(gradient.storage().data(), c10::Error);
    });
    EXPECT_FALSE(grad.has_storage());
    EXPECT_THROW(grad.data_ptr(), c10::Error);
    EXPECT_THROW(grad.storage(), c10::Error);
  });
}

TEST(TakesSum, IsNeitherOfAliasesNorOfSharedShards) {
  run_ranks(2, [](int) {
    gradient_past([](at::Tensor& gradient) {
      EXPECT_TRUE(gradient.has_storage());
      {
        const at::Tensor shard = sharded(gradient).local();
        EXPECT_FALSE(gradient.has_storage());
      }
      EXPECT_TRUE(gradient.has_storage());
      const at::Tensor alias = gradient.detach();
      EXPECT_FALSE(gradient.has_storage());
      EXPECT_FALSE(alias.has_storage());
      EXPECT_FALSE(sharded(gradient).takes_sum());
    });
  });
}

TEST(TakesSum, IsAgainOfWhatWasShared) {
  run_ranks(2, [](int) {
    gradient_past([](at::Tensor& gradient) {
      const Identity identity = sharded(gradient).identity();
      at::Tensor alias = gradient.detach(), view = gradient.view({-1});
      EXPECT_FALSE(gradient.has_storage());
      alias.reset();
      EXPECT_FALSE(gradient.has_storage());
      view.reset();
      EXPECT_TRUE(gradient.has_storage());
      EXPECT_TRUE(sharded(gradient).takes_sum());
      gradient.detach();
      EXPECT_FALSE(sharded(gradient).takes_sum());
      EXPECT_TRUE(gradient.has_storage());
      EXPECT_TRUE(sharded(gradient).takes_sum());
      EXPECT_EQ(sharded(gradient).identity(), identity);
    });
  });
}

TEST(TakesSum, IsASumInPlaceWithTheIdentityOfOneOutOfPlace) {
  run_ranks(2, [](int) {
    gradient_past([](at::Tensor& gradient) {
      const at::Tensor other = gradient.neg();
      const auto before = sharded(gradient).local().const_data_ptr();
      const at::Tensor apart = gradient + other;
      ASSERT_TRUE(gradient.has_storage());
      const Identity first = sharded(gradient).identity();
      gradient.add_(other);
      EXPECT_EQ(sharded(gradient).identity(), sharded(apart).identity());
      EXPECT_NE(sharded(gradient).identity(), first);
      EXPECT_EQ(sharded(gradient).local().const_data_ptr(), before);
      EXPECT_FALSE(sharded(gradient).takes_sum());
      EXPECT_TRUE(at::equal(full_tensor(gradient), full_tensor(apart)));
    });
  });
}

}  // namespace
}  // namespace weft
