#include "gradient/pending_copy.h"

#include <weft/tensor.h>

#include "comm/wire/piggyback.h"
#include "comm/wire/reduction.h"
#include "tensor/below_autograd.h"
#include "tensor/sharded.h"
#include "tensor/traced.h"

namespace weft {
namespace {

constexpr size_t kLargest = 64 << 10;  // bytes: what is larger is not worth a copy to send

class PendingCopy final : public Incoming, public comm::PiggybackedReduction {
 public:
  PendingCopy(const c10::intrusive_ptr<Cell>& cell, at::Tensor value, comm::ReductionKind kind)
      : cell_(cell), value_(std::move(value)), kind_(std::move(kind)) {
    identity = new_identity();
  }

  void arrive() override {
    BelowAutograd guard;
    const RunningOp running("copy_", identity, nullptr);
    comm::PiggybackedReductions::finish(*this, kind_);
  }
  at::Tensor to_send(const comm::ReductionKind& kind) override {
    return kind == kind_ ? value_.view({-1}) : at::Tensor();
  }
  void receive(const at::Tensor& reduced) override {
    const auto cell = cell_.lock();  // weak: the cell holds this
    if (!cell) return;
    BelowAutograd guard;
    cell->local.copy_(reduced.view(value_.sizes()));
    replace_content(*cell, cell->local, cell->layout);
  }

 private:
  const c10::weak_intrusive_ptr<Cell> cell_;
  const at::Tensor value_;
  const comm::ReductionKind kind_;
};

// The axis over which the layout is pending, where that is all there is to it; -1: there is more or less.
int pending_axis(Layout layout) {
  int found = -1;
  for (int axis = 0; axis < layout->mesh()->ndim(); ++axis) {
    const AxisState state = layout->state(axis);
    if (state.kind == AxisState::replicated) continue;
    if (state.kind == AxisState::split || found >= 0) return -1;
    found = axis;
  }
  return found;
}

}  // namespace

bool copy_when_reduced(const at::Tensor& destination, const at::Tensor& source) {
  if (!holds_shards(destination) || !holds_shards(source)) return false;
  const ShardedTensorImpl& to = sharded(destination);
  if (is_traced(to.local())) return false;  // a compiler records its own reduction
  const Layout from = sharded(source).layout();
  if (!from->has_partial() || !to.layout()->is_replicated() || to.chain() || from->mesh() != to.layout()->mesh()) {
    return false;
  }
  if (!source.sizes().equals(destination.sizes()) || source.scalar_type() != destination.scalar_type() ||
      source.device() != destination.device() || source.nbytes() > kLargest) {
    return false;
  }
  const int axis = pending_axis(from);
  if (axis < 0) return false;
  const Reduction reduction = from->state(axis).reduction;
  if (!comm::has_lowering(source.scalar_type(), reduction)) return false;
  BelowAutograd guard;
  at::Tensor value = sharded(source).local().clone(at::MemoryFormat::Contiguous);
  const comm::ReductionKind kind{from->mesh(), axis, reduction, value.scalar_type(), value.device()};
  const auto cell = to.shared_cell();
  const auto copy = std::make_shared<PendingCopy>(cell, std::move(value), kind);
  await_content(*cell, copy);
  const bool may_wait = comm::PiggybackedReductions::wait_for_carrier(copy);
  if (cell->shown.load(std::memory_order_relaxed) || !may_wait) copy->arrive();
  sharded(destination).wrote();
  return true;
}

}  // namespace weft
