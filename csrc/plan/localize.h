#pragma once
// What a planned op is given on the shard in place of its own arguments.
#include "plan/layouts.h"

namespace weft {

/// Sizes that the op is given as arguments (view, expand, new_zeros, ...), as the shard at `coordinates` needs them:
/// plan.patches.
void localize_arguments(const Call& call, const rules::BoundRule& bound, const std::vector<AxisChoice>& choices,
                        const Layouts& layouts, c10::IntArrayRef coordinates, Plan& plan);

/// Indices into a dimension that is split: plan.masked.
void mask_indices(const Call& call, const rules::BoundRule& bound, const std::vector<AxisChoice>& choices,
                  const Layouts& layouts, c10::IntArrayRef coordinates, Plan& plan);

/// Queries that are split and masked by their place: plan.causal.
void find_causal(const Call& call, const rules::BoundRule& bound, const std::vector<AxisChoice>& choices,
                 const Layouts& layouts, c10::IntArrayRef coordinates, Plan& plan);

/// Split dimensions that a window slides over: plan.halos.
void find_halos(const Call& call, const rules::BoundRule& bound, const std::vector<AxisChoice>& choices,
                c10::IntArrayRef coordinates, Plan& plan);

}  // namespace weft
