#pragma once
// What a planned op is given on the shard in place of its own arguments.
#include "plan/layouts.h"

namespace weft {

/// Sizes that the op is given as arguments (view, expand, new_zeros, ...), as the shard at `coordinates` needs them:
/// plan.patches.
void localize_arguments(const Call& call, const rules::BoundRule& bound, const std::vector<AxisChoice>& choices,
                        const Layouts& layouts, c10::IntArrayRef coordinates, Plan& plan);

/// What it takes to run the op on the shards, more than these arguments: indices into a split dimension, queries that
/// are split and masked by their place, split dimensions that a window slides over. Null: nothing.
std::shared_ptr<const LocalCall> local_call(const Call& call, const rules::BoundRule& bound,
                                            const std::vector<AxisChoice>& choices, const Layouts& layouts,
                                            c10::IntArrayRef coordinates);

}  // namespace weft
