#pragma once
// What runs on GPUs in kernels of our own. Without a CUDA toolkit no_cuda.cpp stands in for all of it.
#include <ATen/core/Tensor.h>

namespace weft::random {
struct Draw;
struct GlobalIndex;
}  // namespace weft::random

namespace weft::cuda {

/// random::fill() for a shard on a GPU, on the current stream.
void fill_random(const at::Tensor& out, const random::GlobalIndex& index, const random::Draw& draw, uint64_t key);

}  // namespace weft::cuda
