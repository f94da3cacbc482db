#pragma once
// The order in which a tensor's dimensions lie in memory.
#include <c10/util/ArrayRef.h>

#include "layout/shard.h"

namespace weft {

/// Dimensions from the outermost in memory to the innermost; empty where that is their own order. Ties and expanded
/// dimensions as torch orders them (at::infer_dense_strides): of two equal strides that of the larger dimension is the
/// outer, a stride of 0 stays where it is.
Sizes memory_order(c10::IntArrayRef sizes, c10::IntArrayRef strides);
/// The place of each dimension in the order.
Sizes inverse(const Sizes& order);

}  // namespace weft
