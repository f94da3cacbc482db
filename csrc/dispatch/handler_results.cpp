// What an op gave on the shards, as sharded tensors: written back, or wrapped.
#include <ATen/ops/empty_strided.h>

#include "comm/lockstep/settle.h"
#include "dispatch/handler.h"
#include "redistribute/redistribute.h"
#include "tensor/below_autograd.h"
#include "tensor/strided.h"
#include "views/views.h"

namespace weft {
namespace {

// A kernel may lay out its result in memory otherwise than its meta kernel says of the full tensor: views of the full
// tensor must be views of the shard.
at::Tensor in_memory_order(at::Tensor local, const Geometry& global) {
  if (row_major(global.sizes, global.strides) ? local.is_contiguous() : local.numel() < 2) return local;
  const Sizes own = dense_strides(global.sizes, global.strides), strides = dense_strides(local.sizes(), global.strides);
  for (int64_t d = 0; d < local.dim(); ++d) {
    if (global.sizes[d] > 1 && own[d] != global.strides[d]) return local;  // expanded or with gaps
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

struct Told {
  Layout layout;
  const Geometry* geometry;
};

// What the plan says of a result; where it says nothing (of some gathered ops), what the result itself does, in `own`.
Told told_of(Mesh mesh, const Plan& plan, size_t output, const at::Tensor& local, Geometry& own) {
  if (output < plan.outputs.size()) {
    const Plan::Output& planned = plan.outputs[output];
    // Some kernels leave out what their meta kernels promise (statistics that nobody needs).
    const bool in_parts = !plan.gathered && !planned.layout->is_replicated();
    if (C10_LIKELY(in_parts || local.sizes().equals(planned.geometry.sizes))) {
      return {planned.layout, &planned.geometry};
    }
  }
  own = geometry_of(local);
  if (output >= plan.outputs.size()) own.offset = 0;
  return {TensorLayout::replicated(mesh, local.dim()), &own};
}

// Of what a gathered op gave whole.
at::Tensor own_part(const at::Tensor& whole, Layout layout) {
  BelowAutograd guard;
  const Layout replicated = TensorLayout::replicated(layout->mesh(), layout->ndim());
  return owned(redistribute_local(whole, whole.sizes(), replicated, layout), whole);
}

}  // namespace

// The ops that a composite is made of keep their inputs' memory order, where the op itself may not.
void Handler::order_outputs() {
  BelowAutograd guard;
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

void Handler::write_back() {
  if (!op_.writes) return;
  for (const Plan::WriteBack& w : plan_->write_backs) {
    Operand& o = operands_[w.tensor];
    if (o.impl == nullptr) {
      const at::Tensor full =
          redistribute_local(o.local, o.tensor.sizes(), w.from, TensorLayout::replicated(mesh_, o.tensor.dim()));
      comm::settle();
      if (!full.is_same(o.tensor) && !mesh_->is_simulated()) o.tensor.copy_(full);
    } else {
      write_into(o.tensor, o.local, w.from, op_.fills);
    }
    o.written_back = true;
  }
  for (Operand& o : operands_) {
    if (o.impl == nullptr || o.written_back || !op_.arguments[o.argument].written) continue;
    if (o.impl->is_moved()) {
      write_into(o.tensor, o.local, o.impl->layout(), op_.fills);
    } else {
      o.impl->wrote();
    }
  }
}

at::Tensor wrap_root(const OpInfo& op, Mesh mesh, const Plan& plan, size_t output, at::Tensor local) {
  // Some kernels give gradients that nobody asked for.
  if (!local.defined() || (output < plan.outputs.size() && !plan.outputs[output].defined)) return {};
  check_strided(op.short_name, local);
  Geometry own;
  const Told told = told_of(mesh, plan, output, local, own);
  if (plan.gathered && !told.layout->is_replicated()) local = own_part(local, told.layout);
  return make_sharded(in_memory_order(std::move(local), *told.geometry), told.layout, *told.geometry);
}

at::Tensor Handler::wrap(size_t output, at::Tensor local, int element, const at::Tensor& base) {
  if (!base.defined()) return wrap_root(op_, mesh_, *plan_, output, std::move(local));
  check_strided(op_.short_name, local);
  Geometry own;
  const Told told = told_of(mesh_, *plan_, output, local, own);
  return wrap_view(op_, view_arguments_, base, operands_[0].local, std::move(local), told.layout, *told.geometry,
                   element);
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
      v = local.defined() ? wrap(output, std::move(local), -1, base) : at::Tensor();
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
