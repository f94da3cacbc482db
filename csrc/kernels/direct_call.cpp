#include "kernels/direct_call.h"

#include <algorithm>

#include "dispatch/handler.h"
#include "dispatch/overlap.h"
#include "gradient/gradient.h"
#include "plan/call_key.h"
#include "tensor/strided.h"
#include "views/views.h"

namespace weft {

bool DirectCall::add_operand(const at::Tensor& tensor, int argument, int element) {
  ShardedTensorImpl* impl = holds_shards(tensor) ? &sharded(tensor) : nullptr;
  if (impl != nullptr) {
    if (impl->is_moved() || impl->is_wrapped_number() || impl->incoming() != nullptr) return false;
  } else {
    check_strided(op_.short_name, tensor);
  }
  if (tensor.defined()) reduce_gradient_of_leaf(tensor);
  push_operand(key_, op_, argument, element, tensor, impl, has_to_stay(impl));
  operands_.push_back({&tensor, impl, op_.arguments[argument].written, element >= 0});
  return true;
}

void DirectCall::push_value(const c10::IValue& value) { weft::push_value(key_, value); }

void DirectCall::add_ints(c10::IntArrayRef values, int argument) {
  if (op_.arguments[argument].keyed) push_ints(key_, values);
}

c10::ArrayRef<at::Tensor> DirectCall::take_shards() {
  shards_.reserve(operands_.size());
  for (const Operand& o : operands_) {
    // Core bumps the version of a tensor that is written by itself, not of those in a list.
    if (o.in_list && o.written && o.impl != nullptr && !o.impl->is_inference()) o.impl->bump_version();
    shards_.push_back(o.impl != nullptr ? o.impl->local() : *o.tensor);
  }
  if (op_.writes) look_for_overlaps();
  return {shards_.data(), shards_.size()};
}

void DirectCall::look_for_overlaps() {
  const Operand& self = operands_[0];
  if (self.impl == nullptr || !self.written || self.in_list) return;
  const Cell* cell = self.impl->known_cell();
  for (size_t i = 1; i < operands_.size() && cell != nullptr; ++i) {
    const Operand& o = operands_[i];
    if (C10_LIKELY(o.impl == nullptr || o.impl == self.impl || o.impl->known_cell() != cell)) continue;
    refuse_partial_overlap(op_, *self.tensor, *o.tensor);
    shards_[i] = apart_from(shards_[0], shards_[i]);
  }
}

void DirectCall::note_writes() const {
  if (!op_.writes) return;
  for (const Operand& o : operands_) {
    if (o.written && o.impl != nullptr) o.impl->wrote();
  }
}

at::Tensor DirectCall::wrap(const Plan& plan, size_t output, at::Tensor local) const {
  const auto laid_out = std::find_if(operands_.begin(), operands_.end(), [](const Operand& o) { return o.impl; });
  return wrap_root(op_, laid_out->impl->layout()->mesh(), plan, output, std::move(local));
}

at::Tensor DirectCall::wrap_view(const Plan& plan, at::Tensor view, c10::ArrayRef<c10::IValue> arguments) const {
  const Operand& base = operands_[0];
  const Plan::Output& output = plan.outputs[0];
  return weft::wrap_view(op_, arguments, *base.tensor, base.impl->local(), std::move(view), output.layout,
                         output.geometry, -1);
}

}  // namespace weft
