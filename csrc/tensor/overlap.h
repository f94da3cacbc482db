#pragma once
// Tensors of which a write to one changes another.
#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>
#include <vector>

namespace weft {

/// The first two of these sharded tensors (their indices) that hold elements of each other, one of them of the
/// `written` (indices, too); nullopt: there are none. Parts of one memory count where the ranges that they lie in meet.
std::optional<std::pair<size_t, size_t>> written_overlap(const std::vector<at::Tensor>& tensors,
                                                         c10::IntArrayRef written);

/// Whether core takes one of two tensors to hold some elements of the other one, in another place or order: it tells so
/// of those without gaps alone. By the full tensors' geometry, so alike on all ranks.
bool overlap_partially(const at::Tensor& a, const at::Tensor& b);

}  // namespace weft
