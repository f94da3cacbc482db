// The full value of a sharded tensor, on every rank.
#include <torch/csrc/autograd/custom_function.h>

#include "comm/lockstep/settle.h"
#include "redistribute/redistribute.h"
#include "redistribute/sparse.h"
#include "redistribute/tensors.h"
#include "redistribute/tensors_shared.h"
#include "tensor/below_autograd.h"
#include "tensor/op_history.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor gather_full(const at::Tensor& tensor) {
  BelowAutograd guard;
  if (tensor.is_sparse()) return full_sparse(tensor);
  if (has_own_rows(tensor)) return gather_full(gather_entries(tensor));
  const ShardedTensorImpl& impl = sharded(tensor);
  const Layout layout = TensorLayout::replicated(impl.layout()->mesh(), tensor.dim());
  at::Tensor full = redistribute_local(impl.local(), tensor.sizes(), impl.layout(), layout, tensor.strides());
  return full.is_same(impl.local()) ? full.detach() : full;
}

bool shares_memory(const at::Tensor& a, const at::Tensor& b) {
  return a.is_sparse() ? a._values().is_alias_of(b._values()) : a.is_alias_of(b);
}

struct Full : torch::autograd::Function<Full> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& tensor) {
    ctx->saved_data["mesh"] = as_word(sharded(tensor).layout());
    return gather_full(tensor);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Layout layout = as_layout(ctx->saved_data["mesh"].toInt());
    at::Tensor grad = grads[0];
    if (grad.defined() && !holds_shards(grad)) grad = distribute_tensor(grad, layout->without_partial());
    return {grad};
  }
};

}  // namespace

at::Tensor full_or_alias(const at::Tensor& tensor) {
  if (!holds_shards(tensor)) return tensor;
  const ShardedTensorImpl& impl = sharded(tensor);
  const RunningOp running("full_tensor", mix(hash_text("full_tensor"), impl.identity()), impl.interned_path());
  at::Tensor full = recorded(tensor) ? Full::apply(tensor) : gather_full(tensor);
  comm::settle();
  return full;
}

at::Tensor full_tensor(const at::Tensor& tensor) {
  at::Tensor full = full_or_alias(tensor);
  return holds_shards(tensor) && shares_memory(full, sharded(tensor).local()) ? full.clone() : full;
}

}  // namespace weft
