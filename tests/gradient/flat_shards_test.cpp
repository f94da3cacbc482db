#include "gradient/flat_shards.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/run_ranks.h"

namespace weft {
namespace {

using test::run_ranks;

TEST(FlatShards, LieOneAfterTheOther) {
  run_ranks(1, [](int) {
    FlatShards flat(at::kLong, 0);
    const at::Tensor a = at::arange(6).view({2, 3}), b = at::arange(6, 12).view({3, 2}).t(), c = at::arange(12, 15);
    flat.append({a, b});
    EXPECT_TRUE(at::equal(flat.content(), at::cat({a.flatten(), b.flatten()})));
    flat.append({c});  // more than there is room for
    EXPECT_TRUE(at::equal(flat.content(), at::cat({a.flatten(), b.flatten(), c})));
    EXPECT_EQ(flat.numel(), 15);
  });
}

TEST(FlatShards, HaveTheirMemoryFromTheFirst) {
  run_ranks(1, [](int) {
    FlatShards flat(at::kFloat, 8);
    flat.append({at::ones({4})});
    const at::Tensor first = flat.content();
    flat.append({at::zeros({2, 2}).t()});
    EXPECT_TRUE(flat.content().is_alias_of(first));
    flat.append({at::ones({1})});  // more than was expected
    EXPECT_FALSE(flat.content().is_alias_of(first));
    EXPECT_TRUE(at::equal(flat.content(), at::cat({at::ones({4}), at::zeros({4}), at::ones({1})})));
  });
}

TEST(FlatShards, ThatAreGivenUpStayForTheirViews) {
  run_ranks(1, [](int) {
    FlatShards flat(at::kFloat, 4);
    flat.append({at::ones({4})});
    const at::Tensor before = flat.content();
    flat.clear();
    EXPECT_EQ(flat.numel(), 0);
    flat.append({at::zeros({3})});
    EXPECT_TRUE(at::equal(before, at::ones({4})));
    const at::Tensor result = at::arange(10.).narrow(0, 2, 5);
    flat.assign(result);
    EXPECT_TRUE(at::equal(flat.content(), result));
  });
}

}  // namespace
}  // namespace weft
