#include "redistribute/gather_ahead.h"

#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/weft.h>

#include <string>
#include <vector>

#include "support/run_ranks.h"
#include "support/sent.h"

namespace weft {
namespace {

using c10::impl::device_guard_impl_registry;
using test::run_ranks;
using test::Sent;
using testing::ElementsAre;

constexpr int kLayers = 6;

// CPUs with streams, as far as who asks for the current one can tell.
class Streams final : public c10::impl::NoOpDeviceGuardImpl<c10::kCPU> {
 public:
  Streams() : before_(entry().exchange(this)) {}
  ~Streams() override { entry().store(before_); }
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;

  static c10::Stream stream(c10::StreamId id) { return c10::Stream(c10::Stream::UNSAFE, c10::kCPU, id); }
  c10::Stream getStream(c10::Device /*device*/) const noexcept override { return stream(current_); }
  c10::Stream exchangeStream(c10::Stream to) const noexcept override {
    taken_.push_back(to.id());
    return stream(std::exchange(current_, to.id()));
  }
  /// Those that this thread has gone to since it was asked.
  static std::vector<c10::StreamId> taken() { return std::exchange(taken_, {}); }

 private:
  static std::atomic<const c10::impl::DeviceGuardImplInterface*>& entry() {
    return device_guard_impl_registry[static_cast<size_t>(c10::kCPU)];
  }
  const c10::impl::DeviceGuardImplInterface* before_;
  inline static thread_local c10::StreamId current_ = 0;
  inline static thread_local std::vector<c10::StreamId> taken_;
};

TEST(GatherAhead, IsUsedOnItsOwnStreamAlone) {
  const Streams streams;
  Sent sent;
  run_ranks(2, [](int rank) {
    const at::NoGradGuard no_grad;
    const at::Tensor rows = at::arange(320).view({80, 4}).to(at::kFloat) / 320;
    const Layout split = TensorLayout::from_names(DeviceMesh::get({2}, {"x"}), {{"x"}, {}});
    std::vector<at::Tensor> plain, weights;
    for (int i = 0; i < kLayers; ++i) {
      plain.push_back(at::arange(16).view({4, 4}).to(at::kFloat).sin() + i);
      weights.push_back(distribute_tensor(plain.back(), split));
      set_path(weights.back(), "layer" + std::to_string(i));
    }
    const at::Tensor x = distribute_tensor(rows, split);
    const auto forward = [&](at::Tensor y, const std::vector<at::Tensor>& of, int from, int to) {
      for (int i = from; i < to; ++i) y = y.mm(of[i]).tanh();
      return y;
    };
    const at::Tensor want = forward(rows, plain, 0, kLayers);
    const auto gathers = [&](auto&& pass) {
      const size_t before = Sent::by(rank).size();
      const at::Tensor y = pass();
      const size_t count = Sent::by(rank).size() - before;
      EXPECT_TRUE(full_tensor(y).allclose(want));
      return count;
    };
    const auto on_one = [&] { return forward(x, weights, 0, kLayers); };
    const auto on_two = [&] {
      const at::Tensor y = forward(x, weights, 0, kLayers / 2);
      const c10::StreamGuard side(Streams::stream(1));
      return forward(y, weights, kLayers / 2, kLayers);
    };
    EXPECT_EQ(gathers(on_one), kLayers);
    EXPECT_EQ(gathers(on_one), 1);
    Streams::taken();
    EXPECT_EQ(gathers(on_two), 2);
    EXPECT_THAT(Streams::taken(), ElementsAre(1, 0, 1, 0));  // the side, for it what is on its way, and back again
    EXPECT_EQ(gathers(on_one), 1);
  });
}

}  // namespace
}  // namespace weft
