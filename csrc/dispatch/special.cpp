#include "dispatch/special.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/ScalarType.h>
#include <weft/tensor.h>

#include <unordered_map>

#include "dispatch/gather.h"
#include "dispatch/handler.h"
#include "dispatch/indexing.h"
#include "dispatch/process_groups.h"
#include "dispatch/random_ops.h"
#include "gradient/gradient_buckets.h"
#include "gradient/pending_copy.h"
#include "random/random.h"
#include "rules/overloads.h"
#include "tensor/below_autograd.h"
#include "views/views.h"

namespace weft {
namespace {

using Stack = std::vector<c10::IValue>;

c10::IValue& argument(const OpInfo& op, Stack& stack, size_t i) {
  return stack[stack.size() - op.arguments.size() + i];
}

void finish(const OpInfo& op, Stack& stack, c10::IValue result) {
  stack.erase(stack.end() - static_cast<std::ptrdiff_t>(op.arguments.size()), stack.end());
  stack.push_back(std::move(result));
}

void run_alias(const OpInfo& op, Stack& stack) { finish(op, stack, share(argument(op, stack, 0).toTensor())); }

void run_identity(const OpInfo& op, Stack& stack) { finish(op, stack, argument(op, stack, 0)); }

void run_as_strided(const OpInfo& op, Stack& stack) {
  const at::Tensor self = argument(op, stack, 0).toTensor();
  const auto sizes = argument(op, stack, 1).toIntVector(), strides = argument(op, stack, 2).toIntVector();
  const c10::IValue offset = argument(op, stack, 3);
  finish(op, stack, as_strided(op, self, sizes, strides, offset.isInt() ? offset.toInt() : self.storage_offset()));
}

// t_, transpose_, unsqueeze_, ...: the view op, whose result self becomes.
void run_in_place_view(const OpInfo& op, Stack& stack) {
  const at::Tensor self = argument(op, stack, 0).toTensor();
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
  sharded(self).become(sharded(result));
  stack.back() = self;
}

// Its strides are the whole's; the shard's are for view to find.
void run_reshape_alias(const OpInfo& op, Stack& stack) {
  const at::Tensor self = argument(op, stack, 0).toTensor();
  const auto sizes = argument(op, stack, 1).toIntVector();
  BelowAutograd guard;
  finish(op, stack, self.view(sizes));
}

// Autograd adds a gradient to one that is there: not waited for where the gradient is still on its way.
void run_add(const OpInfo& op, Stack& stack) {
  const at::Tensor& self = argument(op, stack, 0).toTensor();
  const at::Tensor& other = argument(op, stack, 1).toTensor();
  if (holds_shards(other) && argument(op, stack, 2).toScalar().equal(1) && add_on_arrival(self, other)) {
    sharded(self).set_identity(new_identity());
    return finish(op, stack, self);
  }
  Handler(op, stack).run();
}

// A small value that is still pending: not waited for.
void run_copy(const OpInfo& op, Stack& stack) {
  const at::Tensor& self = argument(op, stack, 0).toTensor();
  if (copy_when_reduced(self, argument(op, stack, 1).toTensor())) return finish(op, stack, self);
  Handler(op, stack).run();
}

void run_instead(const OpInfo& op, Stack& stack) {
  BelowAutograd guard;
  op.instead(op.handle, stack);
}

// An out= op on whole plain tensors; what it wrote, in order.
Stack run_out_gathered(const OpInfo& op, const Stack& stack) {
  const size_t n = op.arguments.size();
  Stack call(stack.end() - static_cast<std::ptrdiff_t>(n), stack.end()), written;
  int64_t bytes = 0;
  auto whole = [&](const at::Tensor& t, bool is_written) {
    if (!t.defined()) return t;
    if (is_written) return at::empty({0}, t.options());
    if (holds_shards(t)) bytes += static_cast<int64_t>(t.nbytes());
    return full_tensor(t);
  };
  for (size_t a = 0; a < n; ++a) {
    if (call[a].isTensor()) {
      call[a] = whole(call[a].toTensor(), op.arguments[a].written);
    } else if (call[a].isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& t : call[a].toTensorVector()) list.push_back(whole(t, op.arguments[a].written));
      call[a] = std::move(list);
    }
    if (op.arguments[a].written) written.push_back(call[a]);
  }
  warn_gather(op.short_name, "it has no functional counterpart", bytes);
  op.handle.callBoxed(&call);
  return written;
}

// out= variants: the functional overload, copied into what was given.
void run_out(const OpInfo& op, Stack& stack) {
  const size_t n = op.arguments.size(), base = stack.size() - n;
  std::vector<at::Tensor> outs;
  Stack call;
  for (size_t a = 0; a < n; ++a) {
    if (!op.arguments[a].written || !op.schema().arguments()[a].kwarg_only()) {
      call.push_back(stack[base + a]);
    } else if (stack[base + a].isTensorList()) {
      for (const at::Tensor& t : stack[base + a].toTensorVector()) outs.push_back(t);
    } else {
      outs.push_back(stack[base + a].toTensor());
    }
  }
  const auto functional = rules::functional_of(op.schema());
  BelowAutograd guard;
  if (functional) {
    functional->callBoxed(&call);
  } else {
    call = run_out_gathered(op, stack);
  }
  std::vector<at::Tensor> results;
  for (const c10::IValue& v : call) {
    if (v.isTensor()) results.push_back(v.toTensor());
    if (v.isTensorList()) {
      for (const at::Tensor& t : v.toTensorVector()) results.push_back(t);
    }
  }
  TORCH_INTERNAL_ASSERT(results.size() == outs.size());
  for (size_t i = 0; i < outs.size(); ++i) {
    at::Tensor& out = outs[i];
    TORCH_CHECK(c10::canCast(results[i].scalar_type(), out.scalar_type()), "[", op.short_name, "] result type ",
                results[i].scalar_type(), " can't be cast to the desired output type ", out.scalar_type());
    if (!out.sizes().equals(results[i].sizes())) {
      if (holds_shards(out)) {
        TORCH_CHECK_VALUE(out.numel() == 0, "[", op.short_name, "] out= has shape ", out.sizes(), " and the result ",
                          results[i].sizes(), "; a sharded tensor cannot be resized");
        const Layout whole = TensorLayout::replicated(sharded(out).layout()->mesh(), results[i].dim());
        at::Tensor result = results[i].to(out.scalar_type());
        if (!holds_shards(result)) result = make_sharded(result, whole, geometry_of(result));
        sharded(out).become(sharded(result));
        continue;
      }
      out.resize_(results[i].sizes());
    }
    out.copy_(results[i]);
  }
  // Results are the written arguments, as they came.
  c10::SmallVector<c10::IValue, 3> back;
  for (const auto& r : op.results) {
    if (r.written_argument >= 0) back.push_back(stack[base + r.written_argument]);
  }
  stack.erase(stack.end() - static_cast<std::ptrdiff_t>(n), stack.end());
  stack.insert(stack.end(), back.begin(), back.end());
}

// A sparse gradient is a plain one of all rows (dispatch/sparse.h).
void run_embedding_bag_backward(const OpInfo& op, Stack& stack) {
  if (!argument(op, stack, op.argument("sparse")).toBool()) return Handler(op, stack).run();
  for (size_t i = 0; i < op.arguments.size(); ++i) {
    c10::IValue& v = argument(op, stack, i);
    if (v.isTensor()) v = full_tensor(v.toTensor());
  }
  BelowAutograd guard;
  op.handle.callBoxed(&stack);
}

// As `self.data = source`: a sharded self shares a sharded source, and lays out a plain one.
void run_set(const OpInfo& op, Stack& stack) {
  const at::Tensor self = argument(op, stack, 0).toTensor(), source = argument(op, stack, 1).toTensor();
  TORCH_CHECK_NOT_IMPLEMENTED(holds_shards(self), "[", op.short_name, "] a plain tensor of shape ", self.sizes(),
                              " cannot share the data of a sharded one of shape ", source.sizes(), ", layout ",
                              sharded(source).layout()->describe(), "; in Python `plain.data = sharded` makes it one");
  TORCH_CHECK(self.scalar_type() == source.scalar_type() && self.device() == source.device(), "[", op.short_name,
              "] self is ", self.scalar_type(), " on ", self.device(), ", the source ", source.scalar_type(), " on ",
              source.device(), "; they must be the same");
  self.unsafeGetTensorImpl()->shallow_copy_from(source.getIntrusivePtr());
  finish(op, stack, self);
}

void refuse_memory(const OpInfo& op, Stack&) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, "[", op.short_name,
                              "] a sharded tensor has no memory of its own to set, resize or share; use "
                              "weft.full_tensor(x) or weft.local_tensor(x) first");
}

// On the shard alone: what concerns memory and streams, not values.
void run_on_local(const OpInfo& op, Stack& stack) {
  const size_t base = stack.size() - op.arguments.size();
  for (size_t i = base; i < stack.size(); ++i) {
    if (stack[i].isTensor() && holds_shards(stack[i].toTensor())) stack[i] = sharded(stack[i].toTensor()).local();
  }
  BelowAutograd guard;
  op.handle.callBoxed(&stack);
}

void run_resize(const OpInfo& op, Stack& stack) {
  const at::Tensor self = argument(op, stack, 0).toTensor();
  const auto sizes = argument(op, stack, 1).toIntVector();
  TORCH_CHECK_NOT_IMPLEMENTED(self.sizes().equals(sizes), "[resize_] a sharded tensor of shape ", self.sizes(),
                              " cannot be resized to ", sizes, "; make a new one with weft.distribute_tensor");
  finish(op, stack, self);
}

}  // namespace

Special find_special(const OpInfo& op) {
  static const auto* table = new std::unordered_map<std::string, Special>{
      {"detach", &run_alias},
      {"alias", &run_alias},
      {"lift", &run_alias},
      {"as_strided", &run_as_strided},
      {"detach_", &run_identity},
      {"add_.Tensor", &run_add},
      {"copy_", &run_copy},
      {"_reshape_alias", &run_reshape_alias},
      {"index.Tensor", &run_indexing},
      {"_unsafe_index.Tensor", &run_indexing},
      {"index_put", &run_indexing},
      {"index_put_", &run_indexing},
      {"_index_put_impl", &run_indexing},
      {"_index_put_impl_", &run_indexing},
      {"_unsafe_index_put", &run_indexing},
      {"_embedding_bag_backward", &run_embedding_bag_backward},
      {"resize_", &run_resize},
      {"resize_as_", &refuse_memory},
      {"set_", &refuse_memory},
      {"set_.source_Storage", &refuse_memory},
      {"set_.source_Storage_storage_offset", &refuse_memory},
      {"set_.source_Tensor", &run_set},
      {"set_.source_Tensor_storage_offset", &refuse_memory},
      {"record_stream", &run_on_local},
      {"is_pinned", &run_on_local},
      {"is_coalesced", &run_on_local},
      {"dense_dim", &run_on_local},
      {"sparse_dim", &run_on_local},
      {"_has_same_storage_numel", &run_on_local},
  };
  static const auto* in_place_views = new std::unordered_map<std::string, Special>{
      {"t_", &run_in_place_view},          {"transpose_", &run_in_place_view},   {"unsqueeze_", &run_in_place_view},
      {"squeeze_", &run_in_place_view},    {"squeeze_.dim", &run_in_place_view}, {"squeeze_.dims", &run_in_place_view},
      {"as_strided_", &run_in_place_view}, {"swapaxes_", &run_in_place_view},    {"swapdims_", &run_in_place_view},
  };
  if (auto it = table->find(op.short_name); it != table->end()) return it->second;
  if (auto it = in_place_views->find(op.short_name); it != in_place_views->end()) return it->second;
  if (is_collective(op)) return &run_collective;
  if (op.instead != nullptr) return &run_instead;
  if (random::find_sampler(op.handle.operator_name()) != nullptr) return &run_random;
  if (op.is_out) return &run_out;
  return nullptr;
}

}  // namespace weft
