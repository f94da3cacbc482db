#pragma once
// How autograd's engine adds up the gradients of a tensor's uses: `sum.add_(gradient)` where nobody else holds the
// first one, else `sum + gradient`. Who holds it may differ between ranks, so here both are one op: `add_` makes of the
// sum what `add` gives, with that one's layout and identity, in the memory that is there where it fits.
#include "tensor/sharded.h"

namespace weft {

using SumOfGradients = at::Tensor&(at::Tensor&, const at::Tensor&, const at::Scalar&);  // add_

inline bool is_sum_of_gradients(const at::Tensor& sum, const at::Tensor&, const at::Scalar&) {
  return holds_shards(sum) && sharded(sum).takes_sum();
}

at::Tensor& add_gradient(at::Tensor& sum, const at::Tensor& gradient, const at::Scalar& alpha);

}  // namespace weft
