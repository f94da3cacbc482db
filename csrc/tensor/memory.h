#pragma once
// Tensors of subclasses in Python that keep their values in other tensors: DTensor, quantized weights of libraries.
#include <ATen/core/Tensor.h>

#include <string>

namespace weft {

/// Raises a ValueError for a tensor that has elements but no memory that could be read. One on the meta device passes.
void check_memory(const std::string& what, const at::Tensor& tensor);

}  // namespace weft
