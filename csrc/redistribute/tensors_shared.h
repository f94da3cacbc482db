#pragma once
// What distribute_tensor, full_tensor, local_tensor and from_local have in common.
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <weft/layout.h>

namespace weft {

/// Raises ValueError where there is no layout or no tensor, or where they have other numbers of dimensions.
void check_rank(const at::Tensor& tensor, Layout layout, const char* what);

/// TorchScript's fused kernels read data_ptr, which a sharded tensor has not; off from the first one on.
void disable_fuser();

/// Layouts among what autograd saves.
inline int64_t as_word(Layout layout) { return reinterpret_cast<int64_t>(layout); }
inline Layout as_layout(int64_t word) { return reinterpret_cast<Layout>(word); }

/// Whether autograd has to know of what is done with it.
inline bool recorded(const at::Tensor& tensor) { return at::GradMode::is_enabled() && tensor.requires_grad(); }

}  // namespace weft
