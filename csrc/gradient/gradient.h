#pragma once
// Gradients of leaves: brought to the leaf's layout, pending sums reduced once, before they are accumulated. Gradients
// that leave for plain tensors become plain.
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/variable.h>

#include "tensor/sharded.h"
#include "tensor/traced.h"

namespace weft {

/// Puts the hook on the leaf's AccumulateGrad node (never one of the tensor's own hook slots, which belong to the
/// user).
void hook_leaf(const at::Tensor& leaf);

/// Makes the gradient of a plain result of other ops plain, before those ops' backward sees it. That of a sharded
/// tensor that a compiled program is given (traced) gets the tensor's layout.
void hook_result(const at::Tensor& t);

/// Called for each tensor of each op: a leaf that requires grad gets its hook, and so does a plain tensor with a
/// history; a few loads for any other.
inline void reduce_gradient_of_leaf(const at::Tensor& t) {
  const auto* meta = static_cast<torch::autograd::AutogradMeta*>(t.unsafeGetTensorImpl()->autograd_meta());
  if (C10_LIKELY(meta == nullptr)) return;
  if (C10_LIKELY(meta->grad_fn_ != nullptr)) {
    if (C10_UNLIKELY(!holds_shards(t) || is_traced(t))) hook_result(t);
  } else if (meta->requires_grad_) {
    hook_leaf(t);
  }
}

}  // namespace weft
