#include "dispatch/handler.h"

#include <ATen/ops/empty_strided.h>

#include <algorithm>
#include <chrono>

#include "comm/lockstep/failure.h"
#include "comm/lockstep/settle.h"
#include "dispatch/gather.h"
#include "dispatch/refuse.h"
#include "gradient/gradient.h"
#include "mesh/context.h"
#include "mesh/log.h"
#include "redistribute/redistribute.h"
#include "tensor/below_autograd.h"
#include "tensor/strided.h"
#include "views/views.h"

namespace weft {
namespace {

// A kernel may lay out its result in memory otherwise than its meta kernel says of the whole: views of the whole must
// be views of the shard.
at::Tensor in_memory_order(at::Tensor local, const Geometry& whole) {
  if (row_major(whole.sizes, whole.strides) ? local.is_contiguous() : local.numel() < 2) return local;
  const Sizes own = dense_strides(whole.sizes, whole.strides), strides = dense_strides(local.sizes(), whole.strides);
  for (int64_t d = 0; d < local.dim(); ++d) {
    if (whole.sizes[d] > 1 && own[d] != whole.strides[d]) return local;  // expanded or with gaps
  }
  for (int64_t d = 0; d < local.dim(); ++d) {
    if (local.size(d) < 2 || local.stride(d) == strides[d]) continue;
    BelowAutograd guard;
    at::Tensor ordered = at::empty_strided(local.sizes(), strides, local.options());
    ordered.copy_(local);
    return ordered;
  }
  return local;
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
  if (plan_->composite != nullptr) return run_composite();
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
    TORCH_CHECK_VALUE(mesh == mesh_, "[", op_.short_name, "] operands lie on two meshes, ", mesh_->str(), " and ",
                      mesh->str(), "; bring them to one with weft.distribute_tensor");
  }
  TORCH_INTERNAL_ASSERT(mesh_ != nullptr, "[", op_.short_name, "] no sharded operand");
}

Call Handler::describe() const {
  Call call{op_, c10::ArrayRef<c10::IValue>(stack_.data() + base_, op_.arguments.size()), {}, {}, mesh_};
  for (const Operand& o : operands_) {
    TensorInfo info;
    info.argument = o.argument;
    info.element = o.element;
    info.defined = o.tensor.defined();
    if (info.defined) {
      info.layout = o.impl != nullptr ? o.impl->layout() : nullptr;
      info.geometry = geometry_of(o.tensor);
      info.dtype = o.tensor.scalar_type();
      info.wrapped_number = o.tensor.unsafeGetTensorImpl()->is_wrapped_number();
    }
    info.written = op_.arguments[o.argument].written;
    call.tensors.push_back(std::move(info));
  }
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

void Handler::lay_out_inputs() {
  if (plan_->gathered) warn_gathered();
  for (size_t i = 0; i < operands_.size(); ++i) {
    Operand& o = operands_[i];
    if (!o.tensor.defined()) continue;
    const Layout target = plan_->inputs[i];
    if (C10_UNLIKELY(!plan_->shapes.empty()) &&
        std::find(plan_->shapes.begin(), plan_->shapes.end(), static_cast<int>(i)) != plan_->shapes.end()) {
      const Sizes sizes = local_sizes(target, o.tensor.sizes(), context().bind(mesh_).coordinates);
      const at::Tensor& any = o.impl != nullptr ? o.impl->local() : o.tensor;
      BelowAutograd guard;
      o.local = at::empty_strided(sizes, dense_strides(sizes, o.tensor.strides()), any.options());
      continue;
    }
    if (o.impl == nullptr) {
      o.local = target == nullptr ? o.tensor
                                  : redistribute_local(o.tensor, o.tensor.sizes(),
                                                       TensorLayout::replicated(mesh_, o.tensor.dim()), target);
      continue;
    }
    const Layout now = o.impl->layout();
    o.local = target == nullptr || target == now
                  ? o.impl->local()
                  : redistribute_local(o.impl->local(), o.tensor.sizes(), now, target, o.tensor.strides());
    // Written in place somewhere else than in its own shard, it is brought back afterwards: never through an alias.
    if (op_.arguments[o.argument].written && target != nullptr && target != now &&
        o.local.is_alias_of(o.impl->local())) {
      o.local = o.local.clone();
    }
    if (o.tensor.unsafeGetTensorImpl()->is_wrapped_number() && o.local.dim() == 0) {
      o.local.unsafeGetTensorImpl()->set_wrapped_number(true);
    }
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

void Handler::run_composite() {
  put_back(false);
  BelowAutograd guard;
  plan_->composite(op_.handle, stack_);
  // The ops that it is made of keep their inputs' memory order, where the op itself may not.
  const size_t first = stack_.size() - op_.results.size();
  size_t output = 0;
  for (size_t r = 0; r < op_.results.size() && !op_.is_view; ++r) {
    const OpInfo::Result& result = op_.results[r];
    if (result.kind == OpInfo::Kind::tensor_list) return;
    if (result.kind != OpInfo::Kind::tensor || result.written_argument >= 0) continue;
    const Geometry& geometry = plan_->outputs[output++].geometry;
    const at::Tensor got = stack_[first + r].isTensor() ? stack_[first + r].toTensor() : at::Tensor();
    if (!holds_shards(got) || !got.sizes().equals(geometry.sizes) || got.strides().equals(geometry.strides)) continue;
    const ShardedTensorImpl& impl = sharded(got);
    stack_[first + r] = make_sharded(in_memory_order(impl.local(), geometry), impl.layout(), geometry);
  }
}

void Handler::warn_gathered() const { warn_gather(op_.short_name, plan_->reason, plan_->gathered_bytes); }

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
  return {generator, sharded_operand->tensor.device()};
}

// Nothing for what makes no values: views, and memory that is not written yet.
std::optional<FiniteCheck> Handler::finite_check() const {
  if (op_.is_view || op_.short_name.find("empty") != std::string::npos) return std::nullopt;
  FiniteCheck check(op_);
  for (const Operand& o : operands_) {
    check.operand(o.local, o.impl != nullptr ? o.impl->path() : "", op_.arguments[o.argument].written);
  }
  for (size_t a = 0; a < op_.arguments.size(); ++a) check.number(stack_[base_ + a]);
  return check;
}

void Handler::write_back() {
  if (!op_.writes) return;
  for (const Plan::WriteBack& w : plan_->write_backs) {
    Operand& o = operands_[w.tensor];
    if (o.impl == nullptr) {
      const at::Tensor whole =
          redistribute_local(o.local, o.tensor.sizes(), w.from, TensorLayout::replicated(mesh_, o.tensor.dim()));
      comm::settle();
      if (!whole.is_same(o.tensor)) o.tensor.copy_(whole);
    } else {
      write_into(o.tensor, o.local, w.from);
    }
    o.written_back = true;
  }
  for (Operand& o : operands_) {
    if (o.impl == nullptr || o.written_back || !op_.arguments[o.argument].written) continue;
    if (o.impl->is_moved()) {
      write_into(o.tensor, o.local, o.impl->layout());
    } else {
      o.impl->wrote();
    }
  }
}

at::Tensor Handler::wrap(size_t output, at::Tensor local, int element, const at::Tensor& base) {
  check_strided(op_.short_name, local);
  Layout layout;
  Geometry from_local;
  const Geometry* geometry = &from_local;
  if (output >= plan_->outputs.size()) {
    from_local = geometry_of(local);
    from_local.offset = 0;
    layout = TensorLayout::replicated(mesh_, local.dim());
  } else {
    layout = plan_->outputs[output].layout;
    geometry = &plan_->outputs[output].geometry;
    // Some kernels leave out what their meta kernels promise (statistics that nobody needs).
    if (C10_UNLIKELY(layout->is_replicated() && !local.sizes().equals(geometry->sizes))) {
      from_local = geometry_of(local);
      geometry = &from_local;
      layout = TensorLayout::replicated(mesh_, local.dim());
    }
  }
  if (!base.defined()) return make_sharded(in_memory_order(std::move(local), *geometry), layout, *geometry);
  return wrap_view(op_, view_arguments_, base, operands_[0].local, std::move(local), layout, *geometry, element);
}

void Handler::wrap_outputs() {
  const size_t first = stack_.size() - op_.results.size();
  size_t output = 0;
  for (size_t r = 0; r < op_.results.size(); ++r) {
    c10::IValue& v = stack_[first + r];
    const OpInfo::Result& result = op_.results[r];
    if (result.kind == OpInfo::Kind::value) continue;
    if (result.written_argument >= 0) {
      // The same wrappers as came in.
      if (result.kind == OpInfo::Kind::tensor) {
        for (const Operand& o : operands_) {
          if (o.argument == result.written_argument) v = o.tensor;
        }
      } else {
        c10::List<at::Tensor> list;
        for (const Operand& o : operands_) {
          if (o.argument == result.written_argument) list.push_back(o.tensor);
        }
        v = std::move(list);
      }
      continue;
    }
    const at::Tensor base = result.view && operands_[0].impl != nullptr ? operands_[0].tensor : at::Tensor();
    if (v.isTensor()) {
      at::Tensor local = std::move(v).toTensor();
      // Some kernels give gradients that nobody asked for.
      const bool asked = output >= plan_->outputs.size() || plan_->outputs[output].defined;
      v = local.defined() && asked ? wrap(output, std::move(local), -1, base) : at::Tensor();
      ++output;
    } else if (v.isTensorList()) {
      c10::List<at::Tensor> list;
      const auto locals = v.toTensorList();
      for (size_t e = 0; e < locals.size(); ++e)
        list.push_back(wrap(output++, locals.get(e), static_cast<int>(e), base));
      v = std::move(list);
    }
  }
}

}  // namespace weft
