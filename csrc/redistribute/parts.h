#pragma once
// The ranks' parts of one tensor, and the full tensor that they make up.
#include <ATen/core/Tensor.h>
#include <weft/layout.h>

#include <optional>
#include <vector>

namespace weft {

/// Raises ValueError on all ranks where the parts differ in what they must agree about, of whatever kind they are.
void check_parts(const at::Tensor& local, Layout layout, const std::optional<std::vector<int64_t>>& shape);

struct GlobalShape {
  std::vector<int64_t> sizes;
  std::vector<int64_t> order;  // of its dimensions in memory, as strides
};

/// The full tensor, the same on all ranks. Raises ValueError on all of them where the parts do not make up one (of
/// `shape`, if it is given). One small collective.
GlobalShape put_together(const at::Tensor& local, Layout layout, const std::optional<std::vector<int64_t>>& shape);

}  // namespace weft
