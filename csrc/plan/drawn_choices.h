#pragma once
// Choices by lot: all that a rule allows are correct, and tests reach those that cost too much to be chosen.
#include <cstdint>

#include "plan/axis.h"

namespace weft {

/// From now on what a choice costs is drawn by that seed, which is the same on all ranks; 0: costs decide again. Plans
/// that there are already stay.
void draw_choices(uint64_t seed);

/// What a choice for that axis costs; the drawn cost where costs are drawn.
double cost_or_lot(const Call& call, int axis, const AxisChoice& choice, double cost);

}  // namespace weft
