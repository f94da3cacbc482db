#pragma once
// Between plain and sharded tensors, differentiably. The public names are in <weft/tensor.h>.
#include <ATen/core/Tensor.h>
#include <weft/tensor.h>

#include <vector>

namespace weft {

/// Raises ValueError where the layout is not for the tensor: none, another rank, or sizes that differ between ranks.
void check_layout(const at::Tensor& tensor, Layout layout, const char* what);

/// distribute_tensor without its check between ranks and without autograd.
at::Tensor lay_out(const at::Tensor& tensor, Layout layout);
/// Tensors that every rank has, each in its layout; nothing moves. That their shapes and dtypes are the same is a check
/// that is not waited for (check_same_soon). Plain tensors only, at least one, all layouts on one mesh; no autograd.
std::vector<at::Tensor> distribute_batch(const std::vector<at::Tensor>& tensors, const std::vector<Layout>& layouts);
/// Uninitialized memory for each rank's part; the whole exists nowhere.
at::Tensor empty_sharded(at::IntArrayRef sizes, Layout layout, const at::TensorOptions& options);

}  // namespace weft
