#include "plan/local_view.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace weft {
namespace {

at::Tensor matrix() { return at::arange(12).view({3, 4}); }

TEST(LocalView, IsThatOfTheFirstShardOfTheSameGeometry) {
  LocalView known;
  EXPECT_FALSE(known.of(matrix()).defined());
  const at::Tensor first = matrix();
  known.learn(first, first.slice(1, 1, 3).t());
  const at::Tensor other = matrix() + 100;
  const at::Tensor view = known.of(other);
  EXPECT_TRUE(view.is_alias_of(other));
  EXPECT_TRUE(at::equal(view, other.slice(1, 1, 3).t()));
  EXPECT_EQ(view.strides(), other.slice(1, 1, 3).t().strides());
}

TEST(LocalView, StartsWhereTheShardDoes) {
  LocalView known;
  const at::Tensor first = matrix();
  known.learn(first, first.select(0, 1));
  const at::Tensor inner = at::arange(24).view({6, 4}).slice(0, 2, 5);
  EXPECT_TRUE(at::equal(known.of(inner), inner.select(0, 1)));
}

TEST(LocalView, OfAnotherGeometryIsUnknown) {
  LocalView known;
  const at::Tensor first = matrix();
  known.learn(first, first.t());
  EXPECT_FALSE(known.of(matrix().slice(0, 0, 2)).defined());
  EXPECT_FALSE(known.of(at::arange(12).view({4, 3}).t()).defined());  // the same sizes
  const at::Tensor other = at::arange(12).view({4, 3}).t();
  known.learn(other, other.t());  // the first stays
  EXPECT_FALSE(known.of(other).defined());
  EXPECT_TRUE(known.of(matrix()).defined());
}

TEST(LocalView, WhatIsMoreThanGeometryIsNotLearnt) {
  const at::Tensor shard = at::complex(matrix().to(at::kDouble), matrix().to(at::kDouble));
  for (const at::Tensor& view : {shard.conj(), at::view_as_real(shard), shard.clone()}) {
    LocalView known;
    known.learn(shard, view);
    EXPECT_FALSE(known.of(shard).defined());
  }
}

TEST(LocalView, MovesWithWhatItKnows) {
  LocalView known;
  const at::Tensor shard = matrix();
  known.learn(shard, shard.t());
  LocalView moved = std::move(known);
  EXPECT_TRUE(moved.of(shard).defined());
  known = std::move(moved);
  EXPECT_TRUE(known.of(shard).defined());
}

}  // namespace
}  // namespace weft
