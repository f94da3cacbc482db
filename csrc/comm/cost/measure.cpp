// Times collectives as redistribution issues them, over every axis of a mesh, on all ranks at once.
#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "comm/cost/cost.h"
#include "comm/wire/collectives.h"
#include "comm/wire/span.h"
#include "tensor/identity.h"

namespace weft::comm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRepeats = 7, kMostRepeats = 21;
constexpr int kInARow = 2;
constexpr double kBudget = 1;  // seconds, of all axes together

class Measuring {
 public:
  explicit Measuring(Mesh mesh)
      : mesh_(mesh), device_(mesh->device_type() == "cuda" ? at::kCUDA : at::kCPU), begin_(Clock::now()) {}

  MeshCost run() {
    MeshCost cost;
    cost.source = "measured";
    for (int axis = 0; axis < mesh_->ndim(); ++axis) {
      cost.axes.push_back(mesh_->axis_size(axis) == 1 ? AxisCost(1) : of_axis(axis));
    }
    const std::vector<Ticks> own = agreed({product_ticks(), copy_ticks()});
    cost.seconds_per_product = static_cast<double>(own[0]) * kSecondsPerTick / kProducts;
    cost.seconds_per_byte = static_cast<double>(own[1]) * kSecondsPerTick / (2.0 * kCopy);  // read and written
    return cost;
  }

 private:
  struct Timed {
    std::function<void()> run;
    std::vector<Ticks> times{};
  };

  static constexpr int64_t kWidth = 128;
  static constexpr double kProducts = kWidth * kWidth * kWidth;
  static constexpr int64_t kCopy = 8 << 20;  // bytes, more than caches keep

  AxisCost of_axis(int axis) {
    const Ticks until = Ticks(kBudget / kSecondsPerTick) * (axis + 1) / mesh_->ndim();
    const Ticks left = until - spent();
    std::array<std::vector<Timed>, AxisCost::kSizes.size()> of_size;
    size_t known = 0;
    Ticks round = 0;
    do {
      for (size_t m = 0; m < kMoves.size(); ++m) {
        Timed& timed = of_size[known].emplace_back(of(static_cast<Moves>(m), AxisCost::kSizes[known], axis));
        round += time(timed);
      }
      round = agreed({round})[0];
      ++known;
      // The next size takes several times as long as all before it.
    } while (known < of_size.size() && 4 * kRepeats * (kInARow + 1) * round < left);
    // Round by round: what disturbs a moment does so to one time of each, not to all times of one.
    for (int repeat = 1; repeat < kRepeats || (repeat < kMostRepeats && spent() < until); ++repeat) {
      for (size_t i = 0; i < known; ++i) {
        for (Timed& timed : of_size[i]) time(timed);
      }
    }
    AxisCost::Table table{};
    for (size_t i = 0; i < known; ++i) {
      std::vector<Ticks> times;
      for (Timed& timed : of_size[i]) times.push_back(median(timed.times));
      times = agreed(std::move(times));
      for (size_t m = 0; m < kMoves.size(); ++m) table[m][i] = times[m];
    }
    for (size_t i = known; i < AxisCost::kSizes.size(); ++i) extend(table, i);
    return AxisCost(mesh_->axis_size(axis), table);
  }

  // Extends by the rise between the last two, or by the smallest alone: as if its bytes took no time.
  static void extend(AxisCost::Table& table, size_t i) {
    const auto& sizes = AxisCost::kSizes;
    for (auto& times : table) {
      const Ticks rise =
          i < 2 ? sizes[i] - sizes[i - 1]
                : (times[i - 1] - times[i - 2]) * (sizes[i] - sizes[i - 1]) / (sizes[i - 1] - sizes[i - 2]);
      times[i] = times[i - 1] + std::max<Ticks>(rise, 0);
    }
  }

  Timed of(Moves moves, int64_t bytes, int axis) const {
    const int64_t n = mesh_->axis_size(axis), full = std::max(bytes / 4 / n, n) * n, part = full / n;
    const std::vector<int64_t> parts(n, part);
    const auto floats = [&](std::vector<int64_t> sizes) { return at::zeros(sizes, at::device(device_)); };
    switch (moves) {
      case Moves::all_gather: {
        const at::Tensor x = floats({part});
        return {[=, mesh = mesh_] { all_gather(x, 0, parts, mesh, axis); }};
      }
      case Moves::all_to_all: {
        const int64_t side = std::max(part / n, int64_t{1});
        const at::Tensor x = floats({n * n, side});
        const std::vector<int64_t> rows(n, n), columns(n, side);
        return {[=, mesh = mesh_] { all_to_all(x, 0, rows, 1, columns, mesh, axis); }};
      }
      case Moves::all_reduce: {
        const at::Tensor x = floats({full});
        return {[=, mesh = mesh_] { all_reduce(x, Reduction::sum, mesh, axis); }};
      }
      case Moves::reduce_scatter: {
        const at::Tensor x = floats({full});
        return {[=, mesh = mesh_] { reduce_scatter(x, 0, parts, Reduction::sum, mesh, axis); }};
      }
    }
    return {};
  }

  Ticks product_ticks() const {
    return time_alone([&] { at::mm(factor_, factor_); });
  }

  Ticks copy_ticks() const {
    const at::Tensor from = at::ones({kCopy / 4}, at::device(device_)), to = at::empty_like(from);
    return time_alone([&] { to.copy_(from); });
  }

  template <class F>
  Ticks time_alone(F&& f) const {
    Timed timed{f};
    for (int i = 0; i < kRepeats; ++i) time(timed);
    return median(timed.times);
  }

  // In the first of a row buffers and connections are made, and ranks wait for the one that comes last. Between two a
  // program computes: then ranks come at different times, and threads that wait for sockets have gone to sleep.
  Ticks time(Timed& timed) const {
    timed.run();
    std::chrono::nanoseconds all{0};
    for (int i = 0; i < kInARow; ++i) {
      at::mm(factor_, factor_);
      synchronize();
      const auto begin = Clock::now();
      timed.run();
      synchronize();
      all += Clock::now() - begin;
    }
    timed.times.push_back(all.count() * 10 / kInARow);
    return timed.times.back();
  }

  static Ticks median(std::vector<Ticks> times) {
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    return times[times.size() / 2];
  }

  void synchronize() const {
    if (device_ == at::kCPU) return;
    const c10::impl::VirtualGuardImpl device(device_);
    device.synchronizeDevice(device.getDevice().index());
  }

  // Of the rank that has spent most.
  Ticks spent() const {
    const std::chrono::duration<double> elapsed = Clock::now() - begin_;
    return agreed({Ticks(elapsed.count() / kSecondsPerTick)})[0];
  }

  // The slowest rank's, so that all have the same.
  std::vector<Ticks> agreed(std::vector<Ticks> ticks) const {
    at::Tensor x = at::tensor(ticks, at::kLong).to(device_);
    for (int axis = 0; axis < mesh_->ndim(); ++axis) x = all_reduce(x, Reduction::max, mesh_, axis);
    x = x.cpu();
    return {x.const_data_ptr<int64_t>(), x.const_data_ptr<int64_t>() + x.numel()};
  }

  const Mesh mesh_;
  const c10::DeviceType device_;
  const Clock::time_point begin_;
  const at::Tensor factor_ = at::ones({kWidth, kWidth}, at::device(device_));
};

}  // namespace

MeshCost measure_cost(Mesh mesh) {
  const NoOp no_op;        // whatever op needs the plan
  const Unobserved quiet;  // these are no collectives of the program's
  const at::NoGradGuard no_grad;
  return Measuring(mesh).run();
}

}  // namespace weft::comm
