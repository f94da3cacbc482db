#pragma once
// Ops with a split dimension that other operands index: indices shifted to the shard, what lies outside masked.
#include <plan/plan.h>

#include "rules/op_info.h"

namespace weft {

/// Runs the op, its local arguments on the stack, with the index tensors of `masked` shifted; the results hold this
/// shard's part of a sum over the axes that split the indexed dimension.
void run_masked(const OpInfo& op, const std::vector<Plan::Masked>& masked, std::vector<c10::IValue>& stack);

}  // namespace weft
