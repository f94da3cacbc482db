#pragma once
// What the choices of one mesh axis cost: a model of the time that its collectives take, the same on every rank.
#include <vector>

#include "plan/axis.h"

namespace weft {

/// Seconds that the op's operands and results take to move under `choice`, given what other axes chose; negative where
/// the choice is not valid.
double move_cost(const Call& call, const rules::BoundRule& bound, int axis, const AxisChoice& choice,
                 const std::vector<AxisChoice>& chosen);

/// Seconds that the products of a contraction take on one rank: it is worth moving bytes to share them out.
double product_cost(const rules::BoundRule& bound);

}  // namespace weft
