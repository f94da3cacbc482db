#pragma once
#include "rules/bound.h"

namespace weft::rules {

/// _linalg_solve_ex: batches are free, and the columns that are solved for.
bool bind_solve(const Call& call, BoundRule& bound, std::string& why);

}  // namespace weft::rules
