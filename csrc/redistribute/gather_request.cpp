#include "redistribute/gather_request.h"

#include <ATen/ATen.h>
#include <ATen/ops/as_strided_native.h>

#include <algorithm>

#include "comm/lockstep/failure.h"
#include "mesh/context.h"
#include "redistribute/memory_order.h"
#include "redistribute/route.h"

namespace weft {
namespace {

uint32_t version_of(const at::Tensor& local) { return local.is_inference() ? 0 : local._version(); }

Sizes as_sizes(c10::IntArrayRef values) { return Sizes(values.begin(), values.end()); }

}  // namespace

uint64_t GatherRequest::hash(const Wanted& w) {
  uint64_t h = mix(reinterpret_cast<uintptr_t>(&w.operand.cell()), reinterpret_cast<uintptr_t>(w.from));
  h = mix(mix(h, reinterpret_cast<uintptr_t>(w.to)), w.mode);
  for (int64_t size : w.sizes) h = mix(h, static_cast<uint64_t>(size));
  for (int64_t stride : w.strides) h = mix(h, static_cast<uint64_t>(stride));
  return mix(h, static_cast<uint64_t>(w.operand.storage_offset()));
}

bool GatherRequest::is(const Wanted& w) const {
  return address_ == &w.operand.cell() && from_ == w.from && to_ == w.to && mode_ == w.mode && w.sizes.equals(sizes_) &&
         w.strides.equals(strides_) && offset_ == w.operand.storage_offset() && options_.dtype() == w.operand.dtype();
}

std::optional<GatherRequest> GatherRequest::of(const Wanted& w) {
  const at::Tensor& local = w.operand.local();
  const bool has_values = !local.is_meta() || w.from->mesh()->is_simulated();
  if (w.operand.is_moved() || local.is_conj() || local.is_neg() || !has_values) return std::nullopt;
  if (std::find(w.sizes.begin(), w.sizes.end(), 0) != w.sizes.end()) return std::nullopt;
  const Mesh mesh = w.from->mesh();
  const relayout::State start = relayout::state_of(w.from, w.sizes), goal = relayout::state_of(w.to, w.sizes);
  const relayout::Subject subject{mesh, w.sizes, static_cast<int64_t>(local.element_size())};
  const auto step = relayout::single_step(start, goal, subject);
  if (!step || step->from.kind != AxisState::split || step->to.kind != AxisState::replicated) return std::nullopt;

  GatherRequest r;
  const auto cell = w.operand.shared_cell();
  if (!local.is_alias_of(cell->local)) return std::nullopt;
  const Sizes order = memory_order(w.sizes, w.strides);
  if (!order.empty()) r.position_ = inverse(order);
  const relayout::Place place{mesh, w.sizes, context().bind(mesh).coordinates, r.position_};
  relayout::Cut cut = gather_of(*step, start, order.empty() ? local : local.permute(order), place);

  r.cell_ = c10::weak_intrusive_ptr<Cell>(cell);
  r.address_ = cell.get();
  r.path_ = cell->path;
  r.from_ = w.from;
  r.to_ = w.to;
  r.sizes_ = as_sizes(w.sizes);
  r.strides_ = as_sizes(w.strides);
  r.offset_ = w.operand.storage_offset();
  TensorLayout::Dims splits;
  for (size_t d = 0; d < w.sizes.size(); ++d) {
    const auto at = order.empty() ? d : static_cast<size_t>(order[d]);
    r.memory_sizes_.push_back(w.sizes[at]);
    r.memory_strides_.push_back(w.strides[at]);
    splits.push_back(w.from->dim(static_cast<int64_t>(at)));
  }
  r.memory_layout_ = TensorLayout::get(mesh, std::move(splits));
  r.mode_ = w.mode;
  r.identity_ = w.operand.identity();
  r.generation_ = cell->generation.load(std::memory_order_acquire);
  r.sent_sizes_ = as_sizes(cut.tensor.sizes());
  r.sent_strides_ = as_sizes(cut.tensor.strides());
  r.sent_offset_ = cut.tensor.storage_offset();
  r.options_ = local.options();
  r.axis_ = step->axis;
  r.dim_ = cut.dim;
  r.lengths_ = std::move(cut.lengths);
  r.result_sizes_ = std::move(cut.sizes);
  r.bytes_ = relayout::shard_bytes(relayout::after(*step, start), subject);
  return r;
}

void GatherRequest::asked_again(const Wanted& wanted) {
  identity_ = wanted.operand.identity();
  const uint64_t generation = wanted.operand.cell().generation.load(std::memory_order_acquire);
  if (generation == generation_) return;
  if (auto anew = of(wanted)) {
    *this = std::move(*anew);
  }
}

at::Tensor GatherRequest::shard(Moment& moment) const {
  if (const auto cell = cell_.lock()) {
    std::lock_guard<std::mutex> lock(cell->mutex);
    const uint64_t generation = cell->generation.load(std::memory_order_acquire);
    if (generation == generation_) {
      moment = {true, generation, cell->writes.load(std::memory_order_acquire), version_of(cell->local)};
      return at::native::as_strided_tensorimpl(cell->local, sent_sizes_, sent_strides_, sent_offset_);
    }
  }
  return at::empty(sent_sizes_, options_);
}

bool GatherRequest::is_current(const ShardedTensorImpl& operand, const Moment& moment) const {
  const Cell& cell = operand.cell();
  if (!moment.is_known || cell.generation.load(std::memory_order_acquire) != moment.generation ||
      cell.writes.load(std::memory_order_acquire) != moment.writes) {
    return false;
  }
  // The other ranks cannot know of it: they have what was there before.
  comm::run_local("gather", [&] {
    TORCH_CHECK(version_of(cell.local) == moment.version, "[W071] gather: this rank's shard of ",
                path_ != nullptr ? *path_ : std::string("a variable"),
                " was written by way of local_tensor in the middle of a pass, when it was on its way to the other "
                "ranks already; write to the sharded tensor, or between passes, or switch gathers ahead of their use "
                "off: weft.overlap(0)");
  });
  return true;
}

bool GatherRequest::same_gather(const GatherRequest& other) const {
  return address_ == other.address_ && generation_ == other.generation_ && offset_ == other.offset_ &&
         axis_ == other.axis_ && memory_layout_ == other.memory_layout_ && memory_sizes_ == other.memory_sizes_ &&
         memory_strides_ == other.memory_strides_ && options_.dtype() == other.options_.dtype();
}

at::Tensor GatherRequest::result(const at::Tensor& gathered) const {
  const at::Tensor full = gathered.sizes().equals(result_sizes_) ? gathered : gathered.reshape(result_sizes_);
  return position_.empty() ? full : full.permute(position_);
}

}  // namespace weft
