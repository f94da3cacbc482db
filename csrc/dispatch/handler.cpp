// From an op's call to its plan.
#include "dispatch/handler.h"

#include <algorithm>
#include <chrono>

#include "gradient/gradient.h"
#include "mesh/context.h"
#include "mesh/log.h"
#include "tensor/strided.h"
#include "views/views.h"

namespace weft {
namespace {

// Whether the strides are exactly those that the sizes imply; unlike row_major, in dimensions of length 1 too.
bool is_strictly_contiguous(c10::IntArrayRef sizes, c10::IntArrayRef strides) {
  int64_t next = 1;
  for (size_t d = sizes.size(); d-- > 0;) {
    if (strides[d] != next) return false;
    next *= std::max<int64_t>(sizes[d], 1);
  }
  return true;
}

}  // namespace

Handler::Handler(const OpInfo& op, torch::jit::Stack& stack)
    : op_(op), stack_(stack), base_(stack.size() - op.arguments.size()) {}

void Handler::run() {
  take_operands();
  find_mesh();
  do {
    make_key();
    find_plan();
  } while (carry_out_reductions());
  if (plan_->composite != nullptr) {
    call_composite();
    return order_outputs();
  }
  lay_out_inputs();
  call_local();
  write_back();
  wrap_outputs();
}

void Handler::take_operands() {
  auto take = [&](at::Tensor t, size_t argument, int element) {
    ShardedTensorImpl* impl = holds_shards(t) ? &sharded(t) : nullptr;
    if (impl == nullptr) check_strided(op_.short_name, t);
    if (t.defined()) reduce_gradient_of_leaf(t);
    // Core bumps the version of a tensor that is written by itself, not of those in a list.
    if (element >= 0 && impl != nullptr && op_.arguments[argument].written && !t.is_inference()) impl->bump_version();
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
  for (const Operand& o : operands_) {
    if (!o.tensor.defined()) {
      key_.push(uint64_t{0});
      continue;
    }
    const auto* impl = o.tensor.unsafeGetTensorImpl();
    uint64_t head = static_cast<uint64_t>(o.tensor.dim()) << 16 | static_cast<uint64_t>(o.tensor.scalar_type()) << 1;
    if (impl->is_wrapped_number()) head |= uint64_t{1} << 32;
    const auto sizes = o.tensor.sizes(), strides = o.tensor.strides();
    const bool row_major = is_strictly_contiguous(sizes, strides);
    if (row_major) head |= uint64_t{1} << 33;
    if (o.impl != nullptr && o.impl->interned_path() != nullptr) head |= uint64_t{1} << 34;
    key_.push(head | 1);
    key_.push(o.impl != nullptr ? static_cast<const void*>(o.impl->layout()) : nullptr);
    key_.push_all(sizes);
    if (!row_major) key_.push_all(strides);
    if (op_.is_view) key_.push(static_cast<uint64_t>(o.tensor.storage_offset()));
    if (o.element >= 0) key_.push(static_cast<uint64_t>(o.argument) << 8);
  }
  for (size_t a = 0; a < op_.arguments.size(); ++a) {
    if (!op_.arguments[a].keyed) continue;
    const c10::IValue& v = stack_[base_ + a];
    if (v.isInt()) {
      key_.push(static_cast<uint64_t>(v.toInt()));
    } else if (v.isNone()) {
      key_.push(uint64_t{0xfff1});
    } else if (v.isBool()) {
      key_.push(uint64_t{0xfff2} + v.toBool());
    } else if (v.isIntList()) {
      const auto list = v.toIntList();
      key_.push(uint64_t{0xfff4} + list.size());
      for (size_t i = 0; i < list.size(); ++i) key_.push(static_cast<uint64_t>(list.get(i)));
    } else if (v.isString()) {
      key_.push_text(v.toStringRef());
    } else if (v.isBoolList()) {
      const auto list = v.toBoolList();
      uint64_t bits = 1;
      for (size_t i = 0; i < list.size(); ++i) bits = bits << 1 | static_cast<uint64_t>(list.get(i));
      key_.push(bits);
    } else if (!v.isDevice()) {
      key_.push_text(c10::str(v));
    }
  }
}

Call Handler::describe() const {
  Call call{op_, c10::ArrayRef<c10::IValue>(stack_.data() + base_, op_.arguments.size()), {}, {}, mesh_};
  for (const Operand& o : operands_) call.tensors.push_back(TensorInfo::of(op_, o.argument, o.element, o.tensor));
  return call;
}

void Handler::find_plan() {
  const uint64_t hash = key_.hash();
  plan_ = weft::find_plan(key_, hash);
  if (plan_ != nullptr) return;
  const auto begin = std::chrono::steady_clock::now();
  Call call = describe();
  plan_ = std::make_shared<const Plan>(make_plan(call, context().bind(mesh_).coordinates));
  const std::chrono::duration<double, std::micro> us = std::chrono::steady_clock::now() - begin;
  if (log_on(LogLevel::debug)) log(LogLevel::debug, explain(call, *plan_), "  planned in ", us.count(), " us");
  store_plan(key_, hash, plan_);
}

bool Handler::carry_out_reductions() {
  // What is only a part of its root is reduced for this op alone, as an input laid out anew.
  bool any = false;
  for (const Plan::Reduce& r : plan_->reductions) any |= reduce_for_all_aliases(*operands_[r.tensor].impl, r.to);
  return any;
}

}  // namespace weft
