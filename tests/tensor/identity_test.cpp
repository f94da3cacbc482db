#include "tensor/identity.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <thread>

#include "tensor/op_history.h"

namespace weft {
namespace {

TEST(Identity, FollowsTheOpAndItsResultsInOrder) {
  EXPECT_EQ(RunningOp::current(), nullptr);
  EXPECT_EQ(new_identity(), 0u);
  Identity first = 0, second = 0;
  {
    const RunningOp op("add", 5, nullptr);
    first = new_identity();
    second = new_identity();
    const RunningOp inner("clone", 9, nullptr, /*keeps_value=*/true);
    EXPECT_EQ(new_identity(), 9u);
    EXPECT_EQ(new_identity(), 9u);
    const NoOp none;
    EXPECT_EQ(new_identity(), 0u);
  }
  EXPECT_NE(first, second);
  const RunningOp again("add", 5, nullptr);
  EXPECT_EQ(new_identity(), first);
  EXPECT_EQ(RunningOp::current(), &again);
}

TEST(Identity, OfRootsIsToldByTheirPlace) {
  OpHistory& history = OpHistory::of_thread();
  history.note_collectives(3);
  const Identity first = new_root("shard_batch"), second = new_root("shard_batch");
  EXPECT_NE(first, second);
  history.note_collectives(3);
  EXPECT_EQ(new_root("shard_batch"), first);
  EXPECT_NE(new_root("from_local"), second);
}

TEST(Identity, OfRootsDoesNotDependOnTheThread) {
  OpHistory& history = OpHistory::of_thread();
  history.note_collectives(3);
  const Identity first = new_root("set_data"), second = new_root("set_data");
  history.note_collectives(3);
  Identity of_another = 0;
  std::thread([&] { of_another = new_root("set_data"); }).join();
  EXPECT_EQ(of_another, first);
  EXPECT_EQ(new_root("set_data"), second);
}

TEST(Sample, SeesEveryValueOfASmallTensor) {
  const at::Tensor x = at::arange(100, at::kFloat);
  const uint64_t whole = sample(x, 128);
  EXPECT_NE(whole, 0u);
  EXPECT_EQ(sample(x.clone(), 128), whole);
  for (int64_t i = 0; i < 100; ++i) {
    at::Tensor y = x.clone();
    y[i] = -1;
    EXPECT_NE(sample(y, 128), whole) << i;
  }
  EXPECT_NE(sample(x.to(at::kInt), 128), whole);
  EXPECT_NE(sample(x.slice(0, 0, 99), 128), whole);
}

TEST(Sample, IsBoundedAndLeavesOutWhatCannotBeReadForFree) {
  at::Tensor x = at::zeros({1 << 20}, at::kFloat);
  const uint64_t before = sample(x, 128);
  x[1] = 1;  // within the first word
  EXPECT_NE(sample(x, 128), before);
  EXPECT_EQ(sample(at::zeros({4, 4}).slice(1, 0, 2), 128), 0u);  // gaps
  EXPECT_EQ(sample(at::zeros({2}, at::kMeta), 128), 0u);
  EXPECT_EQ(sample(at::zeros({0}), 128), 0u);
}

}  // namespace
}  // namespace weft
