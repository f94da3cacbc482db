#include "comm/wire/buffer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/run_ranks.h"

namespace weft::comm {
namespace {

constexpr int64_t kElements = int64_t{1} << 18;

TEST(Buffer, IsUsedAgainOnceNobodyHoldsIt) {
  test::run_ranks(1, [](int) {
    at::Tensor first = take_buffer(kElements, at::kFloat);
    const void* memory = first.data_ptr();
    at::Tensor part = first.narrow(0, 10, 10).fill_(7);
    first.reset();
    at::Tensor second = take_buffer(kElements, at::kFloat);
    EXPECT_NE(second.data_ptr(), memory);
    second.fill_(1);
    EXPECT_TRUE(at::equal(part, at::full({10}, 7.f)));
    part.reset();
    const at::Tensor smaller = take_buffer(kElements / 2 - 100, at::kDouble);
    EXPECT_EQ(smaller.data_ptr(), memory);
    EXPECT_EQ(smaller.scalar_type(), at::kDouble);
    EXPECT_EQ(smaller.sizes(), at::IntArrayRef{kElements / 2 - 100});
  });
}

TEST(Buffer, IsNotMuchLargerThanAskedFor) {
  test::run_ranks(1, [](int) {
    const void* memory = take_buffer(kElements, at::kFloat).data_ptr();
    const at::Tensor half = take_buffer(kElements / 2, at::kFloat);
    EXPECT_NE(half.data_ptr(), memory);
    EXPECT_EQ(half.storage().nbytes(), kElements * 2);
  });
}

TEST(Buffer, GoesWhenItIsLongNotAskedFor) {
  test::run_ranks(1, [](int) {
    const auto memory = take_buffer(kElements, at::kFloat).storage().getWeakStorageImpl();
    EXPECT_FALSE(memory.expired());
    for (int i = 0; i < 100; ++i) take_buffer(4 * kElements, at::kFloat);
    EXPECT_TRUE(memory.expired());
  });
}

TEST(Buffer, OutlastsManyRequestsForSmallerOnes) {
  test::run_ranks(1, [](int) {
    const auto memory = take_buffer(16 * kElements, at::kFloat).storage().getWeakStorageImpl();
    for (int i = 0; i < 100; ++i) take_buffer(kElements, at::kFloat);
    EXPECT_FALSE(memory.expired());
  });
}

}  // namespace
}  // namespace weft::comm
