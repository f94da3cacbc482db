#pragma once
// Ops in place whose operands lie in one memory: core refuses some, where its kernels' results would depend on the
// order of the elements. Ranks' parts overlap otherwise than the full tensors do, which decide.
#include <ATen/core/Tensor.h>

#include "rules/op_info.h"

namespace weft {

/// Raises, where core does, as several elements of what the op writes are one.
void refuse_internal_overlap(const OpInfo& op, const at::Tensor& written);

/// Raises, where core does, as the op writes some of what it reads.
void refuse_partial_overlap(const OpInfo& op, const at::Tensor& written, const at::Tensor& read);

/// The part `read` in memory of its own, where this rank's kernel would refuse what the full tensors allow.
at::Tensor apart_from(const at::Tensor& written, const at::Tensor& read);

}  // namespace weft
