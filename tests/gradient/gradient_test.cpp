#include "gradient/gradient.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <weft/weft.h>

#include "support/run_ranks.h"

namespace weft {
namespace {

// Else who holds it tells whether autograd's engine adds to it in place, which may differ between ranks.
TEST(Gradient, OfAPlainResultIsHeldByNobodyElse) {
  test::run_ranks(2, [](int) {
    const Mesh mesh = DeviceMesh::get({2}, {"x"});
    for (const std::vector<std::string>& rows : {std::vector<std::string>{}, {"x"}}) {
      const at::Tensor x = distribute_tensor(at::arange(6.f), TensorLayout::from_names(mesh, {rows}));
      const at::Tensor leaf = at::ones({6}).requires_grad_(), plain = leaf * 2;
      const at::Tensor y = x * plain;
      size_t holders = 0;
      plain.register_hook([&](const at::Tensor& gradient) {
        EXPECT_FALSE(is_sharded(gradient));
        holders = gradient.storage().use_count();
      });
      y.sum().backward();
      EXPECT_EQ(holders, 1);
      EXPECT_TRUE(leaf.grad().equal(at::arange(6.f) * 2));
    }
  });
}

}  // namespace
}  // namespace weft
