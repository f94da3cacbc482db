#pragma once
// Nested, quantized, mkldnn and compressed sparse tensors have no shards; sparse COO ones only where they are made of
// sharded tensors (redistribute/sparse.h).
#include <ATen/core/Tensor.h>

#include <string>

namespace weft {

/// Raises NotImplementedError for a tensor that no shard can stand for. An undefined one passes.
void check_strided(const std::string& op, const at::Tensor& tensor);

/// Raises it for a tensor of that kind ("sparse", …).
[[noreturn]] void refuse_kind(const std::string& op, const std::string& kind);

}  // namespace weft
