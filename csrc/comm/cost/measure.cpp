// Times collectives as redistribution issues them, over every axis of a mesh, on all ranks at once.
#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>

#include "comm/cost/cost.h"
#include "comm/wire/collectives.h"
#include "comm/wire/span.h"
#include "tensor/identity.h"

namespace weft::comm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRepeats = 8;
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
  static constexpr int64_t kWidth = 128;
  static constexpr double kProducts = kWidth * kWidth * kWidth;
  static constexpr int64_t kCopy = 8 << 20;  // bytes, more than caches keep

  AxisCost of_axis(int axis) {
    AxisCost::Table table{};
    size_t known = 0;
    for (; known < AxisCost::kSizes.size(); ++known) {
      std::vector<Ticks> times;
      for (size_t m = 0; m < kMoves.size(); ++m) {
        times.push_back(of(static_cast<Moves>(m), AxisCost::kSizes[known], axis));
      }
      times.push_back(Ticks(elapsed() / kSecondsPerTick));
      times = agreed(std::move(times));
      for (size_t m = 0; m < kMoves.size(); ++m) table[m][known] = times[m];
      // The next size takes several times as long.
      const double share = kBudget * (axis + 1) / mesh_->ndim();
      if (static_cast<double>(times.back()) * kSecondsPerTick > share / 2) {
        ++known;
        break;
      }
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

  Ticks of(Moves moves, int64_t bytes, int axis) const {
    const int64_t n = mesh_->axis_size(axis), full = std::max(bytes / 4 / n, n) * n, part = full / n;
    const std::vector<int64_t> parts(n, part);
    const auto floats = [&](std::vector<int64_t> sizes) { return at::zeros(sizes, at::device(device_)); };
    switch (moves) {
      case Moves::all_gather: {
        const at::Tensor x = floats({part});
        return quartile([&] { all_gather(x, 0, parts, mesh_, axis); });
      }
      case Moves::all_to_all: {
        const int64_t side = std::max(part / n, int64_t{1});
        const at::Tensor x = floats({n * n, side});
        const std::vector<int64_t> rows(n, n), columns(n, side);
        return quartile([&] { all_to_all(x, 0, rows, 1, columns, mesh_, axis); });
      }
      case Moves::all_reduce: {
        const at::Tensor x = floats({full});
        return quartile([&] { all_reduce(x, Reduction::sum, mesh_, axis); });
      }
      case Moves::reduce_scatter: {
        const at::Tensor x = floats({full});
        return quartile([&] { reduce_scatter(x, 0, parts, Reduction::sum, mesh_, axis); });
      }
    }
    return 0;
  }

  Ticks product_ticks() const {
    const at::Tensor a = at::ones({kWidth, kWidth}, at::device(device_));
    return quartile([&] { at::mm(a, a); });
  }

  Ticks copy_ticks() const {
    const at::Tensor from = at::ones({kCopy / 4}, at::device(device_)), to = at::empty_like(from);
    return quartile([&] { to.copy_(from); });
  }

  // The lower quartile: other work on the machine only ever adds. One that is not counted goes before: buffers and
  // connections are made in it.
  template <class F>
  Ticks quartile(F&& f) const {
    std::array<Ticks, kRepeats> times{};
    for (int i = -1; i < kRepeats; ++i) {
      const auto begin = Clock::now();
      f();
      synchronize();
      if (i >= 0) times[i] = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count() * 10;
    }
    std::nth_element(times.begin(), times.begin() + kRepeats / 4, times.end());
    return times[kRepeats / 4];
  }

  void synchronize() const {
    if (device_ == at::kCPU) return;
    const c10::impl::VirtualGuardImpl device(device_);
    device.synchronizeDevice(device.getDevice().index());
  }

  double elapsed() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

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
};

}  // namespace

MeshCost measure_cost(Mesh mesh) {
  const NoOp no_op;        // whatever op needs the plan
  const Unobserved quiet;  // these are no collectives of the program's
  const at::NoGradGuard no_grad;
  return Measuring(mesh).run();
}

}  // namespace weft::comm
