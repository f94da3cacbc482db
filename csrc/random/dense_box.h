#pragma once
// Without torch's headers: nvcc reads this once for each architecture.
#include <cstdint>

namespace weft::random {

/// A dense box, with the memory of up to three operands of the shard's shape; CUDA kernels take it by value. Dimensions
/// that can be walked as one are merged; the last one runs through consecutive global indices.
struct Box {
  static constexpr int kMaxDims = 25;
  static constexpr int kMaxOperands = 3;
  int dims = 0;
  int64_t numel = 1;
  int64_t index = 0;                  // global index of the first element
  int64_t offset[kMaxOperands] = {};  // of the first element, in elements
  int64_t size[kMaxDims];
  int64_t index_stride[kMaxDims];
  int64_t stride[kMaxOperands][kMaxDims];
};

}  // namespace weft::random
