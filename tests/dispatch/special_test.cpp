// Ops about identity and memory.
#include "dispatch/special.h"

#include "dispatch/names.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

at::Tensor rows() { return distribute_tensor(numbers({5, 4}), layout(kRows)); }

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
    EXPECT_EQ(difference(all(rows()), all(numbers({5, 4}))), "");
  });
}

TEST(InPlaceViews, ReturnTheTensorItself) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows();
    EXPECT_TRUE(x.t_().is_same(x));
    EXPECT_EQ(layout_of(x), layout(kColumns));
    EXPECT_TRUE(x.detach_().is_same(x));
  });
}

TEST(IsSameSize, AsksForNoValues) {
  const test::Sent sent;
  run_ranks(3, [](int rank) {
    const at::Tensor x = rows(), y = numbers({5, 4});
    const size_t before = test::Sent::count(rank);
    EXPECT_TRUE(x.is_same_size(y));
    EXPECT_FALSE(x.is_same_size(x.t()));
    EXPECT_EQ(test::Sent::count(rank), before);
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
    EXPECT_FALSE(x.is_set_to(numbers({5, 4})));
    EXPECT_FALSE(numbers({5, 4}).is_set_to(x));
  });
}

TEST(Set, SharesASourceThatIsSharded) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows(), source = distribute_tensor(numbers({5, 4}) + 1, layout(kColumns));
    x.set_(source);
    source.mul_(2);
    EXPECT_EQ(difference({x}, {(numbers({5, 4}) + 1) * 2}), "");
    EXPECT_EQ(layout_of(x), layout(kColumns));
  });
}

TEST(Set, RefusesOtherDtypesAndPlainTensors) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows(), plain = numbers({5, 4});
    EXPECT_THAT(error_of<c10::Error>([&] { x.set_(rows().to(at::kDouble)); }), HasSubstr("self is Float"));
    EXPECT_THAT(error_of<c10::NotImplementedError>([&] { plain.set_(x); }),
                HasSubstr("a plain tensor f32[5, 4] cannot share the data of a sharded one"));
    EXPECT_EQ(difference({x, plain}, {numbers({5, 4}), numbers({5, 4})}), "");
  });
}

TEST(Memory, IsNotSetOrResized) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows();
    EXPECT_TRUE(x.resize_({5, 4}).is_same(x));
    EXPECT_THAT(error_of<c10::NotImplementedError>([&] { x.resize_({4, 5}); }),
                HasSubstr("a sharded tensor f32[5@x, 4] cannot be resized to"));
    for (const auto& change :
         {+[](const at::Tensor& t) { t.set_(); }, +[](const at::Tensor& t) { t.resize_as_(at::ones({2})); }}) {
      EXPECT_THAT(error_of<c10::NotImplementedError>([&] { change(x); }), HasSubstr("has no memory of its own"));
    }
    EXPECT_EQ(difference({x}, {numbers({5, 4})}), "");
  });
}

TEST(ReshapeAlias, IsAViewOfTheWholesSizes) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows(), y = at::_reshape_alias(x, {20}, {1});
    y.add_(1);
    EXPECT_EQ(difference({x, y}, {numbers({5, 4}) + 1, (numbers({5, 4}) + 1).view({20})}), "");
  });
}

}  // namespace
}  // namespace weft
