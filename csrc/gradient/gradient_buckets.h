#pragma once
// Pending sums of gradients, reduced many at a time while backward goes on: all-reduced, or scattered where the leaf is
// split. A bucket is sent off when it is full, when one of its gradients is used, or when backward ends: all of these
// follow from program order, so every rank sends the same buckets in the same order.
#include <ATen/core/Tensor.h>
#include <weft/layout.h>

namespace weft {

/// The gradient in layout `to`; its values arrive at its first use or at the end of the running backward pass. Raises
/// RuntimeError outside of one. `leaf` names it in traces. `held`: others may write to `grad` before it is sent.
/// Undefined where reducing sums and averages, and slicing, is not all that parts the gradient from that layout, or
/// where somebody differentiates it.
at::Tensor reduce_in_bucket(const at::Tensor& grad, Layout to, const at::Tensor& leaf, bool held);

/// sum += gradient, put off until the gradient arrives (whoever reads `sum` waits for it): only where the gradient came
/// from reduce_in_bucket for a leaf whose .grad is `sum`, as AccumulateGrad adds it. False: nothing was done.
bool add_on_arrival(const at::Tensor& sum, const at::Tensor& gradient);

/// What passes over simulated meshes sent is not expected of later ones: another program runs them.
void forget_simulated_backward();

}  // namespace weft
