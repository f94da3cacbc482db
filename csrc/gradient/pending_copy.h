#pragma once
// Copies of small pending values, as metrics make them, whose reduction is piggybacked on another one
// (comm/wire/piggyback.h).
#include <ATen/core/Tensor.h>

namespace weft {

/// Copies `source`, a pending reduction over one axis, into the replicated root `destination`; whoever reads that waits
/// for the value. False: nothing was done, since one of them is of another kind, or large.
bool copy_when_reduced(const at::Tensor& destination, const at::Tensor& source);

}  // namespace weft
