#pragma once
// The cheapest sequence of steps from one layout to another.
#include <c10/util/SmallVector.h>

#include <optional>

#include "redistribute/steps.h"

namespace weft::relayout {

using Steps = c10::SmallVector<Step, 4>;

struct Route {
  Steps steps;
  comm::Ticks cost = 0;
};

/// The step that leads from one state to the other where one is enough; most redistributions are such.
std::optional<Step> single_step(const State& start, const State& goal, const Subject& subject);

/// Whether slicing alone leads from one state to the other.
bool only_slices(const State& start, const State& goal);

/// The way by reductions and slices alone, each pending axis reduced by one step, if there is one and anything is
/// pending: scattered first where the goal is split, so that little is left to reduce over the other axes.
std::optional<Steps> only_reductions(const State& start, const State& goal, const Subject& subject);

/// The cheapest route. The same on all ranks: it depends on nothing but the arguments' values, and of two routes of one
/// cost takes the one with fewer steps, then the one found first in the order of axes and dimensions.
/// Routes whose shards outgrow both ends are taken only where no other is found (an axis order that only a gather can
/// change), or where they are too small to matter.
Route find_route(const State& start, const State& goal, const Subject& subject);

}  // namespace weft::relayout
