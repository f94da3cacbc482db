#pragma once
// The cheapest sequence of steps from one layout to another.
#include <c10/util/SmallVector.h>

#include <optional>

#include "redistribute/steps.h"

namespace weft::relayout {

struct Route {
  c10::SmallVector<Step, 4> steps;
  int64_t cost = 0;
};

/// The step that leads from one state to the other where one is enough; most redistributions are such.
std::optional<Step> single_step(const State& start, const State& goal, const Subject& subject);

/// Whether slicing alone leads from one state to the other.
bool only_slices(const State& start, const State& goal);

/// The cheapest route. The same on all ranks: it depends on nothing but the arguments' values, and of two routes of one
/// cost takes the one with fewer steps, then the one found first in the order of axes and dimensions.
/// Routes whose shards outgrow both ends are taken only where no other is found (an axis order that only a gather can
/// change), or where they are too small to matter.
Route find_route(const State& start, const State& goal, const Subject& subject);

}  // namespace weft::relayout
