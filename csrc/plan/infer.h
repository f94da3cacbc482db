#pragma once
// Shapes of results by core's own meta kernels.
#include <string>

#include "plan/plan.h"

namespace weft {

/// infer_results, which says why where core cannot.
bool infer_results(Call& call, std::string& why);

}  // namespace weft
