#pragma once
// Over a simulated mesh no kernel runs, and meta kernels know shapes: most take dtypes that no real one does.
#include "rules/call.h"

namespace weft {

/// Raises what the op's kernel for CPUs raises of the operands' dtypes: where it fails on a few numbers of these, and
/// not on the same of others. What a kernel lacks for one dtype alone (a half on CPUs) is no failure of theirs.
void check_dtypes(const Call& call);

/// Raises what an out= op on CPUs raises of the dtypes of what it writes, given all its arguments: where it fails on a
/// few ones of these, and not where all are of the dtype of the first that it writes.
void check_out_dtypes(const OpInfo& op, c10::ArrayRef<c10::IValue> arguments);

}  // namespace weft
