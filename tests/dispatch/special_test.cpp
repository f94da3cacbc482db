// Ops about identity and memory.
#include "dispatch/special.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/tensor.h>

#include "support/boxed.h"
#include "support/outcome.h"
#include "support/run_ranks.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

using test::difference;
using test::error_of;
using test::line;
using test::run_ranks;
using ::testing::HasSubstr;

at::Tensor numbers() { return at::arange(20, at::kFloat).view({5, 4}); }
at::Tensor rows() { return distribute_tensor(numbers(), TensorLayout::from_names(line(3), {{"x"}, {}})); }
Layout columns() { return TensorLayout::from_names(line(3), {{}, {"x"}}); }

TEST(InPlaceViews, BecomeTheViewAndKeepTheirMemory) {
  run_ranks(3, [](int) {
    const auto all = [](at::Tensor x) {
      const at::Tensor base = x;
      at::Tensor y = x.alias();
      y.t_().unsqueeze_(1).transpose_(0, 2);
      y.squeeze_(1).as_strided_({3, 2}, {4, 1}, 1);
      y.mul_(-1);
      return test::Values{base, y};
    };
    EXPECT_EQ(difference(all(rows()), all(numbers())), "");
  });
}

TEST(InPlaceViews, ReturnTheTensorItself) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows();
    EXPECT_TRUE(x.t_().is_same(x));
    EXPECT_EQ(layout_of(x), columns());
    EXPECT_TRUE(x.detach_().is_same(x));
  });
}

TEST(IsSetTo, TellsWhetherBothAreOneValueSeenAlike) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows(), part = x.slice(1, 0, 2), other = x.slice(1, 2, 4);
    EXPECT_TRUE(x.is_set_to(x.detach()));
    EXPECT_TRUE(part.is_set_to(x.slice(1, 0, 2)));
    EXPECT_FALSE(part.is_set_to(other));  // another offset
    EXPECT_FALSE(x.is_set_to(x.t()));
    EXPECT_FALSE(x.is_set_to(x.clone()));
    EXPECT_FALSE(x.is_set_to(numbers()));
    EXPECT_FALSE(numbers().is_set_to(x));
  });
}

TEST(Set, SharesASourceThatIsSharded) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows(), source = distribute_tensor(numbers() + 1, columns());
    x.set_(source);
    source.mul_(2);
    EXPECT_EQ(difference({x}, {(numbers() + 1) * 2}), "");
    EXPECT_EQ(layout_of(x), columns());
  });
}

TEST(Set, RefusesOtherDtypesAndPlainTensors) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows(), plain = numbers();
    EXPECT_THAT(error_of<c10::Error>([&] { x.set_(rows().to(at::kDouble)); }), HasSubstr("self is Float"));
    EXPECT_THAT(error_of<c10::NotImplementedError>([&] { plain.set_(x); }),
                HasSubstr("a plain tensor of shape [5, 4] cannot share the data of a sharded one"));
    EXPECT_EQ(difference({x, plain}, {numbers(), numbers()}), "");
  });
}

TEST(Memory, IsNotSetOrResized) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows();
    EXPECT_TRUE(x.resize_({5, 4}).is_same(x));
    EXPECT_THAT(error_of<c10::NotImplementedError>([&] { x.resize_({4, 5}); }),
                HasSubstr("a sharded tensor of shape [5, 4] cannot be resized to"));
    for (const auto& change :
         {+[](const at::Tensor& t) { t.set_(); }, +[](const at::Tensor& t) { t.resize_as_(at::ones({2})); }}) {
      EXPECT_THAT(error_of<c10::NotImplementedError>([&] { change(x); }), HasSubstr("has no memory of its own"));
    }
    EXPECT_EQ(difference({x}, {numbers()}), "");
  });
}

TEST(ReshapeAlias, IsAViewOfTheWholesSizes) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows(), y = at::_reshape_alias(x, {20}, {1});
    y.add_(1);
    EXPECT_EQ(difference({x, y}, {numbers() + 1, (numbers() + 1).view({20})}), "");
  });
}

}  // namespace
}  // namespace weft
