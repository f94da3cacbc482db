#pragma once
// From what each mesh axis does to an op to the layouts of its tensors and results.
#include <vector>

#include "plan/axis.h"

namespace weft {

struct Layouts {
  std::vector<Layout> tensors, results;  // null: undefined
  bool ok = true;                        // every rank can hold all of them
};

/// The layouts of a call's tensors and results where mesh axis `a` does `choices[a]`. Axes that split one factor keep
/// the order in which the largest tensor already has them.
Layouts compose_all(const Call& call, const rules::BoundRule& bound, const std::vector<AxisChoice>& choices);

}  // namespace weft
