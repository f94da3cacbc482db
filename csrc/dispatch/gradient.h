#pragma once
// Gradients of leaves: brought to the leaf's layout, pending sums reduced once, before they are accumulated.
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/variable.h>

namespace weft {

/// Puts the hook on the leaf's AccumulateGrad node (never one of the tensor's own hook slots, which belong to the user).
void hook_leaf(const at::Tensor& leaf);

/// Called for each tensor of each op: a leaf that requires grad gets its hook; a few loads for any other.
inline void reduce_gradient_of_leaf(const at::Tensor& t) {
  const auto* meta = static_cast<torch::autograd::AutogradMeta*>(t.unsafeGetTensorImpl()->autograd_meta());
  if (C10_LIKELY(meta == nullptr || !meta->requires_grad_ || meta->grad_fn_)) return;
  hook_leaf(t);
}

}  // namespace weft
