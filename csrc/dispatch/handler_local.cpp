// A plan carried out: its inputs, and the op on the shards.
#include <ATen/ops/empty_strided.h>

#include <algorithm>

#include "comm/lockstep/failure.h"
#include "comm/lockstep/settle.h"
#include "dispatch/handler.h"
#include "layout/shard.h"
#include "mesh/context.h"
#include "plan/gather.h"
#include "plan/strict.h"
#include "redistribute/gather_ahead.h"
#include "redistribute/redistribute.h"
#include "tensor/below_autograd.h"
#include "tensor/traced.h"
#include "tensor/unreal.h"

namespace weft {
namespace {

bool reads_shape_alone(const Plan& plan, size_t i) {
  return std::find(plan.shapes.begin(), plan.shapes.end(), static_cast<int>(i)) != plan.shapes.end();
}

// This rank's part of what it holds whole, as a view of that, where it is expanded or has gaps: a copy of a mask for
// all heads would be as many masks, and attention's kernels on GPUs want the gaps. Undefined: its part is to be copied.
at::Tensor view_of_part(const at::Tensor& whole, Layout layout) {
  if (whole.is_non_overlapping_and_dense() || layout->has_partial() || is_traced(whole)) return {};
  const auto& coordinates = context().bind(layout->mesh()).coordinates;
  at::Tensor part = whole;
  for (int64_t d = 0; d < whole.dim(); ++d) {
    const auto ranges = local_indices(layout, d, whole.size(d), coordinates);
    if (ranges.size() > 1) return {};
    const IndexRange range = ranges.empty() ? IndexRange{0, 0} : ranges[0];
    if (range.length < whole.size(d)) part = part.narrow(d, range.start, range.length);
  }
  return part;
}

// Of what is expanded one of each of the elements that are one is brought there, and expanded: views of it go by its
// strides. Undefined: it is not expanded where it stays whole.
at::Tensor expanded_elsewhere(const at::Tensor& tensor, const ShardedTensorImpl& impl, Layout target) {
  Sizes sizes(tensor.sizes().begin(), tensor.sizes().end());
  at::Tensor local = impl.local();
  const Layout now = impl.layout();
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    if (tensor.stride(d) != 0 || sizes[d] < 2 || !now->dim(d).empty() || !target->dim(d).empty()) continue;
    local = local.narrow(d, 0, 1);
    sizes[d] = 1;
  }
  if (local.is_same(impl.local())) return {};
  const at::Tensor moved = redistribute_local(local, sizes, now, target, tensor.strides());
  return moved.expand(local_sizes(target, tensor.sizes(), context().bind(target->mesh()).coordinates));
}

}  // namespace

void Handler::lay_out_inputs() {
  if (plan_->gathered) {
    warn_gather(op_.short_name, plan_->reason, plan_->gathered_bytes);
  } else if (C10_UNLIKELY(watches_relayouts())) {
    watch_inputs();
  }
  for (size_t i = 0; i < operands_.size(); ++i) {
    Operand& o = operands_[i];
    if (!o.tensor.defined()) continue;
    const Layout target = plan_->inputs[i];
    const bool written = op_.arguments[o.argument].written, may_be_view = !written && !op_.is_view;
    if (C10_UNLIKELY(!plan_->shapes.empty()) && reads_shape_alone(*plan_, i)) {
      const Sizes sizes = local_sizes(target, o.tensor.sizes(), context().bind(mesh_).coordinates);
      const at::TensorOptions options = (o.impl != nullptr ? o.impl->local() : o.tensor).options();
      BelowAutograd guard;
      o.local = at::empty_strided(sizes, dense_strides(sizes, o.tensor.strides()), options_on(mesh_, options));
      continue;
    }
    if (o.impl == nullptr) {
      // A single value may be read by ops; it goes together with meta tensors.
      o.local = o.tensor.dim() == 0 ? o.tensor : plain_on(mesh_, o.tensor);
      if (target == nullptr) continue;
      const Layout replicated = TensorLayout::replicated(mesh_, o.tensor.dim());
      const at::Tensor view = may_be_view && target != replicated ? view_of_part(o.local, target) : at::Tensor();
      o.local = view.defined() ? view : redistribute_local(o.local, o.tensor.sizes(), replicated, target);
      continue;
    }
    const Layout now = o.impl->layout();
    if (target == nullptr || target == now) {
      o.local = o.impl->local();
    } else if (written) {
      o.local = redistribute_local(o.impl->local(), o.tensor.sizes(), now, target, o.tensor.strides());
    } else {
      if (may_be_view && now->is_replicated()) o.local = view_of_part(o.impl->local(), target);
      if (op_.is_view) o.local = expanded_elsewhere(o.tensor, *o.impl, target);
      if (!o.local.defined()) o.local = redistribute_operand(*o.impl, o.tensor.sizes(), o.tensor.strides(), target);
    }
    // Written in place somewhere else than in its own shard, it is brought back afterwards: never through an alias.
    if (written && target != nullptr && target != now && (is_traced(o.local) || o.local.is_alias_of(o.impl->local()))) {
      o.local = o.local.clone();
    }
    if (o.tensor.unsafeGetTensorImpl()->is_wrapped_number() && o.local.dim() == 0) {
      o.local.unsafeGetTensorImpl()->set_wrapped_number(true);
    }
  }
}

void Handler::watch_inputs() const {
  for (size_t i = 0; i < operands_.size(); ++i) {
    const Operand& o = operands_[i];
    if (o.impl != nullptr && plan_->inputs[i] != nullptr && !reads_shape_alone(*plan_, i)) {
      watch_relayout(op_.short_name, o.tensor, o.impl->layout(), plan_->inputs[i]);
    }
  }
  for (const Plan::WriteBack& w : plan_->write_backs) {
    const at::Tensor& written = operands_[w.tensor].tensor;
    watch_relayout(op_.short_name, written, w.from, sharded(written).layout());
  }
}

void Handler::put_back(bool locals) {
  size_t i = 0;
  for (size_t a = 0; a < op_.arguments.size(); ++a) {
    c10::IValue& v = stack_[base_ + a];
    if (op_.arguments[a].kind == OpInfo::Kind::tensor) {
      Operand& o = operands_[i++];
      if (!o.tensor.defined()) continue;
      if (!locals) {
        v = o.tensor;
      } else if (op_.writes || op_.is_view) {
        v = o.local;  // looked at again after the call
      } else {
        v = std::move(o.local);
      }
    } else if (op_.arguments[a].kind == OpInfo::Kind::tensor_list && v.isList()) {
      const auto in_list = [&] { return i < operands_.size() && operands_[i].argument == static_cast<int>(a); };
      if (v.isTensorList()) {
        c10::List<at::Tensor> list;
        for (; in_list(); ++i) list.push_back(locals ? operands_[i].local : operands_[i].tensor);
        v = std::move(list);
      } else {
        c10::List<std::optional<at::Tensor>> list;
        for (; in_list(); ++i) {
          const Operand& o = operands_[i];
          list.push_back(o.tensor.defined() ? std::make_optional(locals ? o.local : o.tensor) : std::nullopt);
        }
        v = std::move(list);
      }
    }
  }
}

void Handler::call_composite() {
  put_back(false);
  BelowAutograd guard;
  plan_->composite(op_.handle, stack_);
  if (op_.results.size() == 1 && op_.results[0].written_argument == operands_[0].argument) {
    operands_[0].tensor.copy_(stack_.back().toTensor());
    stack_.back() = operands_[0].tensor;
  }
}

bool Handler::view_local() {
  at::Tensor view = plan_->local_view.of(operands_[0].local);
  if (!view.defined()) return false;
  torch::jit::drop(stack_, op_.arguments.size());
  stack_.emplace_back(std::move(view));
  return true;
}

void Handler::call_local() {
  const bool one_view = op_.is_view && operands_.size() == 1 && op_.results.size() == 1;
  if (one_view && view_local()) return;
  const std::optional<FiniteCheck> finite = C10_UNLIKELY(checks_finite()) ? finite_check() : std::nullopt;
  put_back(true);
  if (C10_UNLIKELY(op_.tells)) comm::settle();
  for (const Plan::Patch& patch : plan_->patches) stack_[base_ + patch.argument] = patch.value;
  BelowAutograd guard;
  const std::optional<random::Draws> draws = C10_UNLIKELY(op_.random) ? std::optional(draw()) : std::nullopt;
  if (C10_UNLIKELY(plan_->local != nullptr)) {
    plan_->local->run(op_, mesh_, stack_);
  } else {
    comm::run_local(op_.short_name, [&] { op_.handle.callBoxed(&stack_); });
  }
  if (C10_UNLIKELY(draws.has_value())) draws->finish();
  if (C10_UNLIKELY(finite.has_value())) comm::run_local(op_.short_name, [&] { finite->results(stack_); });
  if (one_view && stack_.back().isTensor()) plan_->local_view.learn(operands_[0].local, stack_.back().toTensor());
}

random::Draws Handler::draw() const {
  std::optional<at::Generator> generator;
  for (size_t a = 0; a < op_.arguments.size(); ++a) {
    if (stack_[base_ + a].isGenerator()) generator = stack_[base_ + a].toGenerator();
  }
  const auto sharded_operand =
      std::find_if(operands_.begin(), operands_.end(), [](const Operand& o) { return o.impl; });
  return {generator, sharded_operand->impl->local().device()};  // over a simulated mesh nothing is drawn
}

// Nothing for what makes no values: views, and memory that is not written yet.
std::optional<FiniteCheck> Handler::finite_check() const {
  if (op_.is_view || op_.uninitialized) return std::nullopt;
  FiniteCheck check(op_);
  for (const Operand& o : operands_) {
    check.operand(o.local, o.impl != nullptr ? o.impl->path() : "", op_.arguments[o.argument].written);
  }
  for (size_t a = 0; a < op_.arguments.size(); ++a) check.number(stack_[base_ + a]);
  return check;
}

}  // namespace weft
