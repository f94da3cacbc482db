#include "comm/wire/axis.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <atomic>

#include "comm/lockstep/failure.h"
#include "comm/lockstep/message_tag.h"
#include "comm/lockstep/settle.h"
#include "comm/world/fork.h"

// c10d's names of torch 2.11, which 2.12 and later keep as deprecated aliases.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace weft::comm {
namespace {

constexpr int64_t kLargestGathered = int64_t{1} << 20;

c10d::Backend& backend_of(const Axis& axis, c10::DeviceType device) { return *axis.group->getBackend(device); }

// Its messages meet only those of the same collective.
template <class Call>
c10::intrusive_ptr<c10d::Work> issue(const Axis& axis, const at::Tensor& tensor, Call&& call) {
  if (axis.group == nullptr) return {};
  c10d::Backend& backend = backend_of(axis, tensor.device().type());
  note_issued(backend);
  const MessageTag tag(backend, asked());
  return weft::comm::issue(call);
}

// Some backends return no work where the caller's stream did it all.
template <class Call>
void run(const Axis& axis, const at::Tensor& tensor, Call&& call) {
  if (const auto work = issue(axis, tensor, call)) wait_for(*work, watched_backend(axis, tensor.device().type()));
}

at::Tensor as_bytes(const at::Tensor& tensor) {
  if (moves_as_is(tensor.scalar_type())) return tensor;
  // Complex tensors may carry a lazy conjugation, which view(dtype) resolves into a copy; callers passed theirs through
  // `pack`, which made it real. Flat, since view(dtype) looks at the last stride even where its dimension is 1 long.
  return tensor.as_strided({tensor.numel()}, {1}).view(at::kByte);
}

c10::intrusive_ptr<c10d::Work> exchange(const Axis& axis, at::Tensor output, at::Tensor input,
                                        std::vector<int64_t> output_splits, std::vector<int64_t> input_splits,
                                        bool async) {
  if (!moves_as_is(input.scalar_type())) {
    const int64_t width = static_cast<int64_t>(input.element_size());
    for (int64_t& n : output_splits) n *= width;
    for (int64_t& n : input_splits) n *= width;
    output = as_bytes(output);
    input = as_bytes(input);
  }
  c10d::AllToAllOptions options;
  options.asyncOp = async;
  return axis.group->alltoall_base(output, input, output_splits, input_splits, options);
}

c10::intrusive_ptr<c10d::Work> swap_flat(const Axis& axis, at::Tensor output, at::Tensor input, bool async) {
  const int64_t other = 1 - axis.group_rank(axis.coordinate);
  std::vector<int64_t> output_splits(2), input_splits(2);
  output_splits[other] = output.numel();
  input_splits[other] = input.numel();
  return exchange(axis, std::move(output), std::move(input), std::move(output_splits), std::move(input_splits), async);
}

// Each of two ranks takes the other's part where it belongs.
c10::intrusive_ptr<c10d::Work> gather_by_swap(const Axis& axis, const at::Tensor& output, const at::Tensor& input,
                                              bool async) {
  const int64_t part = input.numel(), mine = axis.group_rank(axis.coordinate);
  const at::Tensor own = output.narrow(0, mine * part, part);
  if (own.const_data_ptr() != input.const_data_ptr()) own.copy_(input);
  return swap_flat(axis, output.narrow(0, (1 - mine) * part, part), input, async);
}

c10::intrusive_ptr<c10d::Work> gather(const Axis& axis, const at::Tensor& output, const at::Tensor& input, bool async) {
  at::Tensor to = as_bytes(output), from = as_bytes(input);
  if (swaps(axis, to.device().type())) return gather_by_swap(axis, to, from, async);
  c10d::AllgatherOptions options;
  options.asyncOp = async;
  return axis.group->_allgather_base(to, from, options);
}

// Gloo gathers into memory of its own, and copies: for memory's sake a simulated gather takes it too.
void take_gloos_own(const Axis& axis, const at::Tensor& output) {
  if (axis.group != nullptr || !axis.simulates_gloo || !output.is_meta()) return;
  if (!swaps(axis, c10::kCPU)) at::empty({output.numel()}, output.options());
}

c10::intrusive_ptr<c10d::Work> scatter(const Axis& axis, at::Tensor output, at::Tensor input,
                                       c10d::ReduceOp::RedOpType op, bool async) {
  c10d::ReduceScatterOptions options;
  options.reduceOp = op;
  options.asyncOp = async;
  return axis.group->_reduce_scatter_base(output, input, options);
}

}  // namespace

Axis::Axis(Mesh mesh, int axis) {
  size = mesh->axis_size(axis);
  const MeshBinding& binding = context().bind(mesh);
  coordinate = binding.coordinates[axis];
  group = binding.groups[axis].get();
  group_ranks = &binding.group_ranks[axis];
  rising = binding.rising[axis];
  simulates_gloo = mesh->is_simulated() && mesh->device_type() == "cpu";
  TORCH_INTERNAL_ASSERT(group != nullptr || mesh->is_simulated(), "axis ", axis, " of ", mesh->str(),
                        " has no process group");
}

std::vector<int64_t> Line::by_group_rank() const {
  std::vector<int64_t> out(size);
  for (int64_t c = 0; c < size; ++c) out[group_rank(c)] = c;
  return out;
}

at::Tensor by_coordinate(const Line& line, const at::Tensor& rows) {
  if (line.ordered()) return rows;
  return rows.index_select(0, at::tensor(*line.group_ranks, at::kLong).to(rows.device()));
}

bool moves_as_is(c10::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
    case at::kDouble:
    case at::kHalf:
    case at::kBFloat16:
    case at::kInt:
    case at::kLong:
    case at::kByte:
    case at::kChar:
      return true;
    default:
      return false;
  }
}

bool uses_gloo(const Axis& axis, c10::DeviceType device) {
  return axis.group == nullptr ? axis.simulates_gloo : backend_of(axis, device).getBackendName() == "gloo";
}

c10d::Backend* watched_backend(const Axis& axis, c10::DeviceType device) {
  return axis.group != nullptr && uses_gloo(axis, device) ? &backend_of(axis, device) : nullptr;
}

void begin(const Event& event) {
  check_not_forked();
  if (const auto first = before_collective.load(std::memory_order_relaxed)) first();
  if (event.mesh == nullptr || !event.mesh->is_simulated()) count_collective(event);
  const Observer told = observer.load(std::memory_order_acquire);
  if (told != nullptr && !Unobserved::holds()) told(event);
}

bool swaps(const Axis& axis, c10::DeviceType device) {
  return axis.size == 2 && (device == c10::kCPU || axis.group == nullptr) && uses_gloo(axis, device);
}

bool reduces_by_gather(const Axis& axis, c10::DeviceType device, int64_t bytes) {
  return !axis.rising || swaps(axis, device) ||
         (axis.size == 2 && bytes <= kLargestGathered && uses_gloo(axis, device));
}

void gather_flat(const Axis& axis, at::Tensor output, at::Tensor input) {
  if (axis.group == nullptr && !output.is_meta()) {  // what ranks compare: those that are not there have the same
    output.view({axis.size, -1}).copy_(input.view({1, -1}));
    return;
  }
  take_gloos_own(axis, output);
  run(axis, output, [&] { return gather(axis, output, input, /*async=*/false); });
}

c10::intrusive_ptr<c10d::Work> begin_gather_flat(const Axis& axis, at::Tensor output, at::Tensor input) {
  take_gloos_own(axis, output);
  return issue(axis, output, [&] { return gather(axis, output, input, /*async=*/true); });
}

void exchange_flat(const Axis& axis, at::Tensor output, at::Tensor input, std::vector<int64_t> output_splits,
                   std::vector<int64_t> input_splits) {
  run(axis, output, [&] { return exchange(axis, output, input, output_splits, input_splits, /*async=*/false); });
}

c10::intrusive_ptr<c10d::Work> begin_exchange_flat(const Axis& axis, at::Tensor output, at::Tensor input,
                                                   std::vector<int64_t> output_splits,
                                                   std::vector<int64_t> input_splits) {
  return issue(axis, output,
               [&] { return exchange(axis, output, input, output_splits, input_splits, /*async=*/true); });
}

c10::intrusive_ptr<c10d::Work> begin_swap_flat(const Axis& axis, at::Tensor output, at::Tensor input) {
  return issue(axis, output, [&] { return swap_flat(axis, output, input, /*async=*/true); });
}

void broadcast_flat(const Axis& axis, at::Tensor tensor, int64_t root_group_rank) {
  std::vector<at::Tensor> tensors{as_bytes(tensor)};
  c10d::BroadcastOptions options;
  options.rootRank = root_group_rank;
  options.asyncOp = false;
  run(axis, tensor, [&] { return axis.group->broadcast(tensors, options); });
}

void all_reduce_flat(const Axis& axis, at::Tensor tensor, c10d::ReduceOp::RedOpType op) {
  std::vector<at::Tensor> tensors{std::move(tensor)};
  c10d::AllreduceOptions options;
  options.reduceOp = op;
  options.asyncOp = false;
  run(axis, tensors[0], [&] { return axis.group->allreduce(tensors, options); });
}

c10::intrusive_ptr<c10d::Work> begin_all_reduce_flat(const Axis& axis, at::Tensor tensor,
                                                     c10d::ReduceOp::RedOpType op) {
  std::vector<at::Tensor> tensors{std::move(tensor)};
  c10d::AllreduceOptions options;
  options.reduceOp = op;
  return issue(axis, tensors[0], [&] { return axis.group->allreduce(tensors, options); });
}

void reduce_scatter_flat(const Axis& axis, at::Tensor output, at::Tensor input, c10d::ReduceOp::RedOpType op) {
  run(axis, output, [&] { return scatter(axis, output, input, op, /*async=*/false); });
}

c10::intrusive_ptr<c10d::Work> begin_reduce_scatter_flat(const Axis& axis, at::Tensor output, at::Tensor input,
                                                         c10d::ReduceOp::RedOpType op) {
  return issue(axis, output, [&] { return scatter(axis, output, input, op, /*async=*/true); });
}

}  // namespace weft::comm
