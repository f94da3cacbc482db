#pragma once
#include <ATen/core/Tensor.h>

#include <optional>

#include "comm/wire/strided_copy.h"

namespace weft::comm {

/// How the bytes of `from` get to `to`, which has its sizes and dtype. None for what a kernel of words is not made for:
/// elements that follow each other in one memory alone (a transposition), too many dimensions or words, nothing at all.
std::optional<StridedCopy> plan_copy(const at::Tensor& to, const at::Tensor& from);

/// Copies by that on a GPU, on the current stream; false: not done, as the tensors are not two of one GPU, or there is
/// no plan, or no CUDA toolkit in this build.
bool copy_words(const at::Tensor& to, const at::Tensor& from);

/// Copies by words where that can be, else as core does.
inline void copy_strided(const at::Tensor& to, const at::Tensor& from) {
  if (!copy_words(to, from)) to.copy_(from);
}

}  // namespace weft::comm
