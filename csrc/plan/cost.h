#pragma once
// What the choices of one mesh axis cost: a model of the time that its collectives take, the same on every rank.
#include <vector>

#include "plan/axis.h"

namespace weft {

/// What flows through an op, as opposed to the variables that it meets.
struct Flow {
  int factor = -1;              // along which the axis splits the largest of it; -1: none
  bool meets_variable = false;  // that the axis splits too: where they do not go together one has to give way
};
Flow flow_of(const Call& call, const rules::BoundRule& bound, int axis);

/// Seconds to bring the results of `choice` back to the split of what flows. A variable is gathered for one op; what
/// leaves its split for a variable's sake has to come back sooner or later, since what it meets next (a residual, a
/// loss) is split as it was.
double return_cost(const Call& call, const rules::BoundRule& bound, int axis, const AxisChoice& choice,
                   const Flow& flow, const std::vector<AxisChoice>& chosen);

/// Seconds that the op's operands and results take to move under `choice`, given what other axes chose; negative where
/// the choice is not valid. Where what flows meets a variable, with `return_cost`.
double move_cost(const Call& call, const rules::BoundRule& bound, int axis, const AxisChoice& choice, const Flow& flow,
                 const std::vector<AxisChoice>& chosen);

/// Whether parts of other ranks are needed under `choice` of an operand that stays where it is in strict mode, or that
/// is written.
bool moves_what_stays(const Call& call, const rules::BoundRule& bound, int axis, const AxisChoice& choice);

/// Seconds that the products of a contraction take on one rank: it is worth moving bytes to share them out.
double product_cost(const Call& call, const rules::BoundRule& bound);

}  // namespace weft
