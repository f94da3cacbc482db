#pragma once
// One mesh axis as this rank sees it, and the c10d calls over its group. Internal to comm/.
#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include <atomic>
#include <vector>

#include "comm/lockstep/event.h"
#include "comm/lockstep/failure.h"
#include "comm/wire/collectives.h"
#include "comm/wire/span.h"
#include "comm/world/one_thread.h"
#include "comm/world/python_lock.h"
#include "mesh/context.h"

namespace weft::comm {

/// The ranks along an axis: by their coordinates, and as they are in the axis's group.
struct Line {
  int64_t size;
  int64_t coordinate;                       // of this rank
  const std::vector<int64_t>* group_ranks;  // empty: as the coordinates
  int64_t group_rank(int64_t coordinate) const {
    return group_ranks->empty() ? coordinate : (*group_ranks)[coordinate];
  }
  /// The coordinates in the order of their ranks in the group.
  std::vector<int64_t> by_group_rank() const;
  bool ordered() const { return group_ranks->empty(); }
};

/// Rows of the ranks, which came as these are in the group, by their coordinates. Lines of a mesh that lists its ranks
/// in another order may hold equal values, and what they add up must be equal to the last bit.
at::Tensor by_coordinate(const Line& line, const at::Tensor& rows);

/// Lives as long as a collective over the axis.
struct Axis : Line {
  Axis(Mesh mesh, int axis);

  WithoutPythonLock unlocked;
  OneThread alone;
  c10d::ProcessGroup* group;  // null: the mesh is simulated, and nothing is sent
  bool simulates_gloo;
  bool rising;  // in every line of the axis the group has the coordinates' order
};

/// Backends know only a few dtypes; others move as bytes, or as numbers of their width.
bool moves_as_is(c10::ScalarType dtype);

/// Whether tensors on that device travel by Gloo, which lacks some of what NCCL has, and is slower at some of it.
bool uses_gloo(const Axis& axis, c10::DeviceType device);
/// That Gloo, which is watched while it is waited for (comm/lockstep/failure.h); null: another backend, or none. Lives
/// as long as the mesh's groups.
c10d::Backend* watched_backend(const Axis& axis, c10::DeviceType device);

/// Whether the axis has two ranks, and what they gather or reduce they best send each other. Gloo gathers into memory
/// of its own, from which it copies, and it reduces half of what there is on each rank and gathers it then: two waits.
/// Where they do, an input that is its own part of a gather's output is not copied.
bool swaps(const Axis& axis, c10::DeviceType device);

/// Whether that many bytes are reduced sooner by gathering them and reducing here. Of two ranks each sends as much
/// either way, and waits for the other once, not twice; a large buffer is then the dearer part. Gloo's ranks wait long:
/// each step wakes threads. And where a backend would add up in an order that differs between lines.
bool reduces_by_gather(const Axis& axis, c10::DeviceType device, int64_t bytes);

/// Called before each collective (null: nothing): checks between ranks that wait for one end before the next.
inline std::atomic<void (*)()> before_collective{nullptr};

/// Counts a collective, one of no elements too, and tells the observer, if there is one. Raises where the ranks have
/// parted.
void begin(const Event& event);

/// Every collective is run by it, whose `body` is this rank's part. What fails there, for want of memory say, is told
/// to the ranks that wait for it.
template <class Body>
auto collective(const Event& event, Body&& body) {
  begin(event);
  const Span span(event);
  try {
    return body();
  } catch (...) {
    report_failure(event.kind, /*in_collective=*/true);
    throw;
  }
}

/// The calls below take flat contiguous tensors and return when later work on the current stream sees the result. Those
/// that only move data take any dtype.
void gather_flat(const Axis& axis, at::Tensor output, at::Tensor input);
void exchange_flat(const Axis& axis, at::Tensor output, at::Tensor input, std::vector<int64_t> output_splits,
                   std::vector<int64_t> input_splits);
void broadcast_flat(const Axis& axis, at::Tensor tensor, int64_t root_group_rank);
void all_reduce_flat(const Axis& axis, at::Tensor tensor, c10d::ReduceOp::RedOpType op);
void reduce_scatter_flat(const Axis& axis, at::Tensor output, at::Tensor input, c10d::ReduceOp::RedOpType op);

/// The same, not waited for: the tensors must live until the work is done (null: it is).
c10::intrusive_ptr<c10d::Work> begin_gather_flat(const Axis& axis, at::Tensor output, at::Tensor input);
c10::intrusive_ptr<c10d::Work> begin_exchange_flat(const Axis& axis, at::Tensor output, at::Tensor input,
                                                   std::vector<int64_t> output_splits,
                                                   std::vector<int64_t> input_splits);
/// Of two ranks: `input` goes to the other one, whose own comes into `output`.
c10::intrusive_ptr<c10d::Work> begin_swap_flat(const Axis& axis, at::Tensor output, at::Tensor input);
c10::intrusive_ptr<c10d::Work> begin_all_reduce_flat(const Axis& axis, at::Tensor tensor, c10d::ReduceOp::RedOpType op);
c10::intrusive_ptr<c10d::Work> begin_reduce_scatter_flat(const Axis& axis, at::Tensor output, at::Tensor input,
                                                         c10d::ReduceOp::RedOpType op);

}  // namespace weft::comm
