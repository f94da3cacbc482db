#pragma once
// Reductions in terms of what c10d's backends can do: other dtypes and operators before the collective, and back after
// it. Internal to comm/, but for the names.
#include <ATen/core/Tensor.h>
#include <torch/csrc/distributed/c10d/Types.hpp>
#include <weft/layout.h>

namespace weft::comm {

/// Whether the dtype has such a reduction (not avg of integers, not max of complex numbers).
bool can_reduce(c10::ScalarType dtype, Reduction reduction);

/// Raises ValueError where it has not.
void check_reduction(c10::ScalarType dtype, Reduction reduction);

/// Whether a backend can reduce it at all, by way of `lower`; else the parts are gathered and reduced locally.
bool has_lowering(c10::ScalarType dtype, Reduction reduction);

/// The tensor that the backend reduces by `reduce_op`; may share memory with `part`, which is contiguous.
at::Tensor lower(const at::Tensor& part, Reduction reduction);
c10d::ReduceOp::RedOpType reduce_op(c10::ScalarType dtype, Reduction reduction);
/// "sum", "avg", …, as torch.distributed's functional collectives spell it.
const char* name_of(c10d::ReduceOp::RedOpType op);
/// What `lowered`, reduced over `ranks` parts, stands for. May change it in place.
at::Tensor lift(at::Tensor lowered, c10::ScalarType dtype, Reduction reduction, int64_t ranks);

/// Reduces over dimension 0, the parts of all ranks; 16-bit floats accumulate in float32. May change them. The result
/// may be in `room`, if that is defined: as one part is.
at::Tensor reduce_locally(const at::Tensor& parts, Reduction reduction, at::Tensor room = {});
/// The same for the parts of two ranks, this one's and the other's, which are not stacked where they are summed.
/// `is_first`: of the two this rank's coordinate comes first. The result may be in `room`, which may be one of them.
at::Tensor reduce_two(const at::Tensor& own, const at::Tensor& other, bool is_first, Reduction reduction,
                      at::Tensor room);

}  // namespace weft::comm
