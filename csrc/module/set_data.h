#pragma once
// What a variable's data is set to: `variable.data = value`, `set_`, a parameter put in the place of another.
#include <ATen/core/Tensor.h>

namespace weft {

/// `value` as the data of `variable`, which is sharded: a sharded tensor that carries the variable's path.
/// A plain value, the same on all ranks, is laid out as the variable is, in memory of its own: over whatever shape it
/// has, and replicated where it has another number of dimensions. A sharded one is what it is, and shared; where the
/// variable has a path and the value none, the value is first brought to the variable's layout, for all its aliases (a
/// view that is a part of something else is not).
/// Raises NotImplementedError for a sparse, nested or quantized value; ValueError on all ranks, at the next collective,
/// where plain values differ between ranks.
at::Tensor as_data_of(const at::Tensor& variable, const at::Tensor& value);

}  // namespace weft
