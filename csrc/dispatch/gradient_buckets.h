#pragma once
// Pending sums of gradients, reduced many at a time while backward goes on. A bucket is sent off when it is full, when
// one of its gradients is used, or when backward ends: all of these follow from program order, so every rank sends the
// same buckets in the same order.
#include <ATen/core/Tensor.h>
#include <weft/layout.h>

namespace weft {

/// Whether all that parts the gradient from the layout `to` are pending sums or averages, and nobody differentiates it.
bool can_reduce_in_bucket(const at::Tensor& grad, Layout to);

/// The gradient in layout `to`; its values arrive at its first use or at the end of the running backward pass. Raises
/// RuntimeError outside of one. `leaf` names it in traces.
at::Tensor reduce_in_bucket(const at::Tensor& grad, Layout to, const at::Tensor& leaf);

}  // namespace weft
