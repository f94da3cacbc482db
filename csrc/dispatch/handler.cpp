// From an op's call to its plan.
#include "dispatch/handler.h"

#include <chrono>

#include "dispatch/how.h"
#include "dispatch/overlap.h"
#include "gradient/gradient.h"
#include "mesh/context.h"
#include "mesh/log.h"
#include "plan/call_key.h"
#include "plan/direct.h"
#include "plan/frozen.h"
#include "tensor/strided.h"
#include "views/views.h"

namespace weft {
Handler::Handler(const OpInfo& op, torch::jit::Stack& stack, std::shared_ptr<const Plan> plan)
    : op_(op), stack_(stack), base_(stack.size() - op.arguments.size()), plan_(std::move(plan)) {}

void Handler::run() {
  take_operands();
  refuse_overlaps();
  find_mesh();
  do {
    if (plan_ == nullptr) {
      make_key();
      find_plan();
    }
  } while (carry_out_reductions());
  if (plan_->composite != nullptr) {
    call_composite();
    return order_outputs();
  }
  if (C10_UNLIKELY(entries_depend())) return call_entries();
  count_list_writes();
  lay_out_inputs();
  keep_apart();
  call_local();
  write_back();
  wrap_outputs();
}

void Handler::take_operands() {
  auto take = [&](at::Tensor t, size_t argument, int element) {
    ShardedTensorImpl* impl = holds_shards(t) ? &sharded(t) : nullptr;
    if (impl == nullptr) check_strided(op_.short_name, t);
    if (t.defined()) reduce_gradient_of_leaf(t);
    operands_.push_back({std::move(t), impl, {}, static_cast<int>(argument), element, false});
  };
  for (size_t a = 0; a < op_.arguments.size(); ++a) {
    const auto& argument = op_.arguments[a];
    c10::IValue& v = stack_[base_ + a];
    if (argument.kind == OpInfo::Kind::tensor) {
      take(v.isTensor() ? std::move(v).toTensor() : at::Tensor(), a, -1);
    } else if (argument.kind == OpInfo::Kind::tensor_list) {
      if (v.isTensorList()) {
        const auto list = v.toTensorList();
        operands_.reserve(operands_.size() + list.size());
        for (size_t e = 0; e < list.size(); ++e) take(list.get(e), a, static_cast<int>(e));
      } else if (v.isList()) {
        const auto list = v.toList();
        for (size_t e = 0; e < list.size(); ++e) {
          const c10::IValue item = list.get(e);
          take(item.isTensor() ? item.toTensor() : at::Tensor(), a, static_cast<int>(e));
        }
      }
    } else if (op_.is_view) {
      view_arguments_.push_back(v);
    }
  }
}

// Core bumps the version of a tensor that is written by itself, not of those in a list.
void Handler::count_list_writes() const {
  if (!op_.writes) return;
  for (const Operand& o : operands_) {
    if (o.element >= 0 && o.impl != nullptr && op_.arguments[o.argument].written && !o.tensor.is_inference()) {
      o.impl->bump_version();
    }
  }
}

void Handler::find_mesh() {
  for (const Operand& o : operands_) {
    if (o.impl == nullptr) continue;
    const Mesh mesh = o.impl->layout()->mesh();
    if (mesh_ == nullptr) mesh_ = mesh;
    if (C10_UNLIKELY(mesh != mesh_)) refuse_two_meshes(op_, mesh_, mesh);
  }
  TORCH_INTERNAL_ASSERT(mesh_ != nullptr, "[", op_.short_name, "] no sharded operand");
}

void Handler::make_key() {
  key_ = PlanKey();
  key_.push(&op_);
  for (Operand& o : operands_) {
    o.stays = has_to_stay(o.impl);
    push_operand(key_, op_, o.argument, o.element, o.tensor, o.impl, o.stays);
  }
  for (size_t a = 0; a < op_.arguments.size(); ++a) {
    if (op_.arguments[a].keyed) push_value(key_, stack_[base_ + a]);
  }
}

Call Handler::describe() const {
  Call call{op_, c10::ArrayRef<c10::IValue>(stack_.data() + base_, op_.arguments.size()), {}, {}, mesh_};
  for (const Operand& o : operands_) {
    call.tensors.push_back(TensorInfo::of(op_, o.argument, o.element, o.tensor));
    call.tensors.back().stays = o.stays;
  }
  return call;
}

void Handler::find_plan() {
  const uint64_t hash = key_.hash();
  plan_ = weft::find_plan(key_, hash);
  if (plan_ != nullptr) return;
  const auto begin = std::chrono::steady_clock::now();
  for (const Operand& o : operands_) {
    if (op_.arguments[o.argument].written && o.tensor.defined()) refuse_internal_overlap(op_, o.tensor);
  }
  Call call = describe();
  if (frozen()) refuse_new_plan(call);
  Plan plan = make_plan(call, context().bind(mesh_).coordinates);
  plan.direct = may_run_unboxed(op_) && runs_directly(call, plan);
  plan_ = std::make_shared<const Plan>(std::move(plan));
  const std::chrono::duration<double, std::micro> us = std::chrono::steady_clock::now() - begin;
  if (log_on(LogLevel::debug)) log(LogLevel::debug, explain(call, *plan_), "  planned in ", us.count(), " us");
  store_plan(key_, hash, plan_);
}

bool Handler::carry_out_reductions() {
  // What is only a part of its root is reduced for this op alone, as an input laid out anew.
  bool any = false;
  for (const Plan::Reduce& r : plan_->reductions) any |= reduce_for_all_aliases(*operands_[r.tensor].impl, r.to);
  if (any) plan_ = nullptr;
  return any;
}

}  // namespace weft
