#include "comm/world/last_work.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include <future>

#include "comm/world/gloo_world.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using WeakWork = c10::weak_intrusive_ptr<c10d::Work>;

// Two ranks in one process.
class LastWork : public testing::Test {
 protected:
  void SetUp() override {
    const auto store = c10::make_intrusive<c10d::HashStore>();
    auto other = std::async(std::launch::async, [&] { return make_gloo_world(store, 1, 2, seconds(20)); });
    mine_ = make_gloo_world(store, 0, 2, seconds(20));
    theirs_ = other.get();
  }

  WeakWork start(const Group& group) {
    std::vector<at::Tensor> tensors{at::ones({3})};
    return WeakWork(group->allreduce(tensors));
  }

  Group mine_, theirs_;
};

TEST_F(LastWork, IsLetGoOf) {
  const WeakWork one = start(mine_), other = start(theirs_);
  finish_work({mine_, theirs_}, steady_clock::now() + seconds(20));
  EXPECT_TRUE(one.expired());
  EXPECT_TRUE(other.expired());
}

TEST_F(LastWork, IsLetGoOfOrGoesOn) {
  const WeakWork one = start(mine_);
  const auto begin = steady_clock::now();
  await_workers({mine_});
  EXPECT_LT(steady_clock::now() - begin, seconds(10)) << "the other rank has not come";
  const WeakWork other = start(theirs_);
  await_workers({mine_, theirs_});
  EXPECT_TRUE(one.expired());
  EXPECT_TRUE(other.expired());
}

TEST_F(LastWork, IsKeptWhereOthersNeverCome) {
  const WeakWork under_way = start(mine_);
  finish_work({mine_}, steady_clock::now() + milliseconds(50));
  start(theirs_);
  finish_work({mine_, theirs_}, steady_clock::now() + seconds(20));
  const auto work = under_way.lock();
  ASSERT_TRUE(work);
  EXPECT_TRUE(work->isCompleted());
}

}  // namespace
}  // namespace weft::comm
