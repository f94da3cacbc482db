#include "dispatch/direct_call.h"

#include <algorithm>
#include <vector>

#include "dispatch/call_key.h"
#include "dispatch/handler.h"
#include "dispatch/special.h"
#include "gradient/gradient.h"
#include "local/finite.h"
#include "tensor/strided.h"
#include "views/views.h"

namespace weft {

namespace {

bool views_one_tensor(const OpInfo& op) {
  return op.is_view && op.arguments[0].kind == OpInfo::Kind::tensor && op.results.size() == 1 &&
         op.results[0].kind == OpInfo::Kind::tensor;
}

// Whether both give each rank the same part: they differ at most in what axes of one rank do.
bool same_shards(Layout a, Layout b) {
  if (a == b) return true;
  if (a == nullptr || b == nullptr || a->ndim() != b->ndim() || a->partial() != b->partial()) return false;
  const auto splits = [&](Layout layout, int64_t d) {
    std::vector<Split> found = layout->dim(d);
    std::erase_if(found, [&](const Split& s) { return layout->mesh()->axis_size(s.axis) == 1; });
    return found;
  };
  for (int64_t d = 0; d < a->ndim(); ++d) {
    if (splits(a, d) != splits(b, d)) return false;
  }
  return true;
}

}  // namespace

bool runs_directly(const Call& call, const Plan& plan) {
  if (call.mesh->is_simulated() || plan.gathered || plan.local != nullptr || plan.composite != nullptr) return false;
  if (!plan.shapes.empty() || !plan.write_backs.empty() || !plan.reductions.empty()) return false;
  if (call.op.is_view ? call.tensors.size() != 1 : !plan.patches.empty()) return false;
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const Layout now = call.tensors[i].layout, wanted = plan.inputs[i];
    if (wanted == nullptr || wanted == now) continue;
    if (now == nullptr) {
      if (!wanted->is_replicated()) return false;
    } else if (call.tensors[i].written || call.op.is_view || !same_shards(now, wanted)) {
      return false;  // what is written elsewhere than in its own layout is brought back
    }
  }
  return DirectCall::is_possible(call.op);
}

bool DirectCall::is_possible(const OpInfo& op) {
  // run_add differs from a plan for a gradient that is on its way alone, which no operand of ours is.
  const bool by_plan = op.special == nullptr || op.special == &run_add;
  return by_plan && (!op.is_view || views_one_tensor(op)) && !op.tells && !op.random && !checks_finite();
}

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
  return {shards_.data(), shards_.size()};
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
