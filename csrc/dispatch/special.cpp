#include "dispatch/special.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/ScalarType.h>
#include <weft/tensor.h>

#include "dispatch/boxed_call.h"
#include "dispatch/handler.h"
#include "gradient/gradient_buckets.h"
#include "gradient/pending_copy.h"
#include "layout/type_text.h"
#include "plan/gather.h"
#include "redistribute/tensors.h"
#include "tensor/below_autograd.h"
#include "tensor/traced.h"
#include "views/views.h"

namespace weft {
namespace {
using Stack = std::vector<c10::IValue>;
}  // namespace

void run_alias(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  call.finish(share(call[0].toTensor()));
}

void run_identity(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  call.finish(call[0]);
}

void run_as_strided(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  const at::Tensor self = call[0].toTensor();
  const auto sizes = call[1].toIntVector(), strides = call[2].toIntVector();
  const c10::IValue offset = call[3];
  call.finish(as_strided(op, self, sizes, strides, offset.isInt() ? offset.toInt() : self.storage_offset()));
}

// t_, transpose_, unsqueeze_, ...: the view op, whose result self becomes.
void run_in_place_view(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  const at::Tensor self = call[0].toTensor();
  c10::OperatorName name = op.handle.operator_name();
  name.name.pop_back();
  auto view = c10::Dispatcher::singleton().findSchema(name);
  if (!view) view = c10::Dispatcher::singleton().findSchema({name.name, "int"});  // transpose.int
  TORCH_INTERNAL_ASSERT(view.has_value(), name, " is missing");
  {
    BelowAutograd guard;
    view->callBoxed(&stack);
  }
  const at::Tensor result = stack.back().toTensor();
  sharded(self).swap_impl(sharded(result));
  stack.back() = self;
}

// Its strides are the full tensor's; the shard's are for view to find.
void run_reshape_alias(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  const at::Tensor self = call[0].toTensor();
  const auto sizes = call[1].toIntVector();
  BelowAutograd guard;
  call.finish(self.view(sizes));
}

// Autograd adds a gradient to one that is there: not waited for where the gradient is still on its way.
void run_add(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  const at::Tensor& self = call[0].toTensor();
  const at::Tensor& other = call[1].toTensor();
  if (holds_shards(other) && call[2].toScalar().equal(1) && add_on_arrival(self, other)) {
    sharded(self).set_identity(new_identity());
    return call.finish(self);
  }
  Handler(op, stack).run();
}

void become_sum(const at::Tensor& sum, const at::Tensor& gradient, const at::Scalar& alpha) {
  const BelowAutograd guard;
  sharded(sum).end_sum();
  sharded(sum).swap_impl(sharded(at::add(sum, gradient, alpha)));
}

// A small value that is still pending is not waited for.
void run_copy(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  const at::Tensor &self = call[0].toTensor(), &source = call[1].toTensor();
  if (copy_when_reduced(self, source)) return call.finish(self);
  if (holds_shards(self) && holds_shards(source) && is_traced(sharded(self).local()) &&
      self.sizes().equals(source.sizes()) && self.scalar_type() == source.scalar_type()) {
    // A program writes what it is given once, not first as a place for what is laid out then.
    write_into(self, sharded(source).local(), sharded(source).layout());
    return call.finish(self);
  }
  Handler(op, stack).run();
}

void run_decomposition(const OpInfo& op, Stack& stack) {
  BelowAutograd guard;
  op.decomposition(op.handle, stack);
}

// Core makes the rows' gradient of that of the bags, by other ops.
void run_embedding_bag_backward(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  if (!call[op.argument("sparse")].toBool()) return Handler(op, stack).run();
  const auto plain = [&](const char* name) { return full_or_alias(call[op.argument(name)].toTensor()); };
  const c10::IValue& weights = call[op.argument("per_sample_weights")];
  BelowAutograd guard;
  const at::Tensor indices = plain("indices"), offsets = plain("offsets");
  at::Tensor bags = call[op.argument("offset2bag")].toTensor();  // core leaves it out where forward had no need of it
  if (bags.numel() == 0) {
    bags = at::searchsorted(offsets, at::arange(indices.numel(), offsets.options()), /*out_int32=*/false,
                            /*right=*/true);
    bags = bags.sub(1).to(offsets.scalar_type());
  }
  call.finish(at::_embedding_bag_sparse_backward(
      call[0].toTensor(), indices, offsets, bags, call[op.argument("bag_size")].toTensor(),
      call[op.argument("num_weights")].toInt(), call[op.argument("scale_grad_by_freq")].toBool(),
      call[op.argument("mode")].toInt(), weights.isTensor() ? std::make_optional(weights.toTensor()) : std::nullopt,
      call[op.argument("padding_idx")].toInt()));
}

void run_is_set_to(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  const at::Tensor self = call[0].toTensor(), other = call[1].toTensor();
  const bool same = holds_shards(self) && holds_shards(other) && &sharded(self).cell() == &sharded(other).cell() &&
                    self.storage_offset() == other.storage_offset() && self.sizes().equals(other.sizes()) &&
                    self.strides().equals(other.strides());
  call.finish(same);
}

// Forward-mode AD asks, to see whether a tangent lies as its primal does: parts of ranks differ where layouts do.
void run_has_same_storage_numel(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  const auto elements = [](const at::Tensor& t) {
    if (!holds_shards(t)) return static_cast<int64_t>(t.storage().nbytes() / t.itemsize());
    const Cell* cell = sharded(t).known_cell();
    return cell != nullptr ? cell->geometry.numel() : t.numel();
  };
  call.finish(elements(call[0].toTensor()) == elements(call[1].toTensor()));
}

void run_is_same_size(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  call.finish(call[0].toTensor().sizes() == call[1].toTensor().sizes());
}

void run_copy_data(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  const at::Tensor self = call[0].toTensor(), source = call[1].toTensor();
  if (self.sizes() != source.sizes() || self.scalar_type() != source.scalar_type()) return Handler(op, stack).run();
  BelowAutograd guard;
  self.copy_(source);
  call.finish(self);
}

// Does what `self.data = source` does: a sharded self shares a sharded source, and lays out a plain one.
void run_set(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  const at::Tensor self = call[0].toTensor(), source = call[1].toTensor();
  TORCH_CHECK_NOT_IMPLEMENTED(holds_shards(self), "[W056] [", op.short_name, "] a plain tensor ",
                              type_text(self.scalar_type(), self.sizes(), nullptr),
                              " cannot share the data of a sharded one ",
                              type_text(source.scalar_type(), source.sizes(), sharded(source).layout()),
                              "; in Python `plain.data = sharded` makes it one");
  TORCH_CHECK(self.scalar_type() == source.scalar_type() && self.device() == source.device(), "[W068] [", op.short_name,
              "] self is ", self.scalar_type(), " on ", self.device(), ", the source ", source.scalar_type(), " on ",
              source.device(), "; they must be the same");
  self.unsafeGetTensorImpl()->shallow_copy_from(source.getIntrusivePtr());
  call.finish(self);
}

void refuse_memory(const OpInfo& op, Stack&) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, "[W060] [", op.short_name,
                              "] a sharded tensor has no memory of its own to set, resize or share; use "
                              "weft.full_tensor(x) or weft.local_tensor(x) first");
}

// What concerns memory and streams, not values, is done on the shard alone.
void run_on_local(const OpInfo& op, Stack& stack) {
  const size_t base = stack.size() - op.arguments.size();
  for (size_t i = base; i < stack.size(); ++i) {
    if (stack[i].isTensor() && holds_shards(stack[i].toTensor())) stack[i] = sharded(stack[i].toTensor()).local();
  }
  BelowAutograd guard;
  op.handle.callBoxed(&stack);
}

void run_resize(const OpInfo& op, Stack& stack) {
  BoxedCall call(op, stack);
  const at::Tensor self = call[0].toTensor();
  const auto sizes = call[1].toIntVector();
  TORCH_CHECK_NOT_IMPLEMENTED(self.sizes().equals(sizes), "[W061] [resize_] a sharded tensor ",
                              type_text(self.scalar_type(), self.sizes(), sharded(self).layout()),
                              " cannot be resized to ", c10::IntArrayRef(sizes),
                              "; make a new one with weft.distribute_tensor");
  call.finish(self);
}

}  // namespace weft
