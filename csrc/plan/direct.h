#pragma once
// Plans that ask for nothing but the op on the shards as they are.
#include "plan/plan.h"
#include "rules/call.h"

namespace weft {

/// Whether the plan is of that kind: no operand moves, nothing else runs, no argument is another one on the shards, or
/// the op is a view of one tensor, whose shard's view is remembered.
bool runs_directly(const Call& call, const Plan& plan);

}  // namespace weft
