#include "comm/wire/reduction.h"

#include <ATen/ATen.h>
#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include <limits>

namespace weft::comm {
namespace {

// The dtype of the lowered tensor. Gloo and NCCL know the same integers; sums and products of the unsigned ones wrap
// alike in a wider or a signed type.
c10::ScalarType lowered_dtype(c10::ScalarType dtype, Reduction reduction) {
  if (c10::isFloat8Type(dtype)) return at::kFloat;
  switch (dtype) {
    case at::kBool:
      return at::kByte;
    case at::kShort:
    case at::kUInt16:
      return at::kInt;
    case at::kUInt32:
    case at::kUInt64:
      return at::kLong;
    case at::kHalf:
    case at::kBFloat16:
    case at::kFloat:
      return reduction == Reduction::norm2 ? at::kDouble : dtype;  // squares leave their own range
    default:
      return dtype;
  }
}

// A square with the sign of what is squared. Norms have none; a whole value beside zeros, which stands for itself, may.
at::Tensor signed_square(const at::Tensor& x) { return x.abs().mul_(x); }
at::Tensor signed_root(const at::Tensor& x) { return x.abs().sqrt_().copysign_(x); }

bool is_ordered(Reduction reduction) { return reduction == Reduction::max || reduction == Reduction::min; }

// Swaps a float's bits and an integer that is ordered as the floats are (IEEE 754's totalOrder): of negative ones all
// bits but the sign are turned.
at::Tensor turned(const at::Tensor& bits) {
  const bool wide = bits.scalar_type() == at::kLong;
  const at::Scalar magnitude = wide ? std::numeric_limits<int64_t>::max() : std::numeric_limits<int32_t>::max();
  return bits.bitwise_right_shift(wide ? 63 : 31).bitwise_and_(magnitude).bitwise_xor_(bits);
}

// Backends pass over NaN in a maximum or minimum, torch does not: floats as integers, NaN beyond them all, from which
// `turned` makes a NaN again.
at::Tensor as_ordered(const at::Tensor& floats, Reduction reduction) {
  const bool wide = floats.scalar_type() == at::kDouble, max = reduction == Reduction::max;
  using Narrow = std::numeric_limits<int32_t>;
  using Wide = std::numeric_limits<int64_t>;
  const int64_t beyond = max ? (wide ? Wide::max() : Narrow::max()) : (wide ? Wide::min() : Narrow::min());
  return turned(floats.view(wide ? at::kLong : at::kInt)).masked_fill_(floats.ne(floats), beyond);
}

}  // namespace

bool can_reduce(c10::ScalarType dtype, Reduction reduction) {
  const bool floating = c10::isFloatingType(dtype), complex = c10::isComplexType(dtype);
  if (is_ordered(reduction)) return !complex && dtype != at::kUInt64;
  if (reduction == Reduction::avg) return floating || complex;
  return reduction != Reduction::norm2 || floating;
}

void check_reduction(c10::ScalarType dtype, Reduction reduction) {
  TORCH_INTERNAL_ASSERT(reduction != Reduction::none, "nothing is pending");
  TORCH_CHECK_VALUE(can_reduce(dtype, reduction), "[W036] a pending ", to_string(reduction), " of dtype ", dtype,
                    " cannot be reduced; convert the tensor before it is reduced");
}

bool has_lowering(c10::ScalarType dtype, Reduction reduction) {
  return !(c10::isComplexType(dtype) && reduction == Reduction::product);
}

at::Tensor lower(const at::Tensor& part, Reduction reduction) {
  if (part.is_complex()) return at::view_as_real(part);
  if (part.scalar_type() == at::kBool) return part.view(at::kByte);
  const bool ordered = is_ordered(reduction) && c10::isFloatingType(part.scalar_type());
  if (ordered) return as_ordered(part.scalar_type() == at::kDouble ? part : part.to(at::kFloat), reduction);
  at::Tensor lowered = part.to(lowered_dtype(part.scalar_type(), reduction));
  return reduction == Reduction::norm2 ? signed_square(lowered) : lowered;
}

c10d::ReduceOp::RedOpType reduce_op(c10::ScalarType dtype, Reduction reduction) {
  const bool truth = dtype == at::kBool;
  switch (reduction) {
    case Reduction::max:
      return c10d::ReduceOp::MAX;
    case Reduction::min:
      return c10d::ReduceOp::MIN;
    case Reduction::product:
      return truth ? c10d::ReduceOp::MIN : c10d::ReduceOp::PRODUCT;  // and
    default:
      return truth ? c10d::ReduceOp::MAX : c10d::ReduceOp::SUM;  // or, as torch adds truth values
  }
}

const char* name_of(c10d::ReduceOp::RedOpType op) {
  switch (op) {
    case c10d::ReduceOp::SUM:
      return "sum";
    case c10d::ReduceOp::AVG:
      return "avg";
    case c10d::ReduceOp::PRODUCT:
      return "product";
    case c10d::ReduceOp::MIN:
      return "min";
    case c10d::ReduceOp::MAX:
      return "max";
    case c10d::ReduceOp::BAND:
      return "band";
    case c10d::ReduceOp::BOR:
      return "bor";
    case c10d::ReduceOp::BXOR:
      return "bxor";
    default:
      return "scaled sum";
  }
}

at::Tensor lift(at::Tensor lowered, c10::ScalarType dtype, Reduction reduction, int64_t ranks) {
  if (reduction == Reduction::avg) lowered.div_(ranks);
  if (reduction == Reduction::norm2) lowered = signed_root(lowered);
  if (c10::isComplexType(dtype)) return at::view_as_complex(lowered);
  if (dtype == at::kBool) return lowered.view(at::kBool);
  if (is_ordered(reduction) && c10::isFloatingType(dtype)) {
    lowered = turned(lowered).view(dtype == at::kDouble ? at::kDouble : at::kFloat);
  }
  return lowered.to(dtype);
}

at::Tensor reduce_two(const at::Tensor& own, const at::Tensor& other, bool is_first, Reduction reduction,
                      at::Tensor room) {
  const at::Tensor &first = is_first ? own : other, &second = is_first ? other : own;
  const c10::ScalarType dtype = first.scalar_type();
  if (reduction == Reduction::sum && dtype != at::kBool && lowered_dtype(dtype, reduction) == dtype) {
    return at::add_out(room, first, second);
  }
  return reduce_locally(at::stack({first, second}), reduction, room);
}

at::Tensor reduce_locally(const at::Tensor& parts, Reduction reduction, at::Tensor room) {
  const c10::ScalarType dtype = parts.scalar_type();
  if (dtype == at::kBool) {
    const bool all = reduction == Reduction::product || reduction == Reduction::min;
    return all ? parts.all(0) : parts.any(0);
  }
  // Kernels for rare dtypes are patchy: reduce what a backend would see.
  if (parts.is_complex() && (reduction == Reduction::sum || reduction == Reduction::avg)) {
    return at::view_as_complex(reduce_locally(at::view_as_real(parts), reduction));
  }
  if (!parts.is_complex() && lowered_dtype(dtype, Reduction::sum) != dtype) {
    return reduce_locally(parts.to(lowered_dtype(dtype, Reduction::sum)), reduction).to(dtype);
  }
  switch (reduction) {
    case Reduction::sum:
      if (parts.size(0) == 2) return room.defined() ? at::add_out(room, parts[0], parts[1]) : parts[0].add_(parts[1]);
      return parts.sum(0, /*keepdim=*/false, dtype);
    case Reduction::avg:
      return parts.mean(0);
    case Reduction::max:
      return parts.amax(0);
    case Reduction::min:
      return parts.amin(0);
    case Reduction::product:
      return parts.prod(0, /*keepdim=*/false, dtype);
    case Reduction::norm2:
      return signed_root(signed_square(parts.to(at::kDouble)).sum(0)).to(dtype);
    case Reduction::none:
      break;
  }
  TORCH_INTERNAL_ASSERT(false, "nothing is pending");
}

}  // namespace weft::comm
