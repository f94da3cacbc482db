#pragma once
#include "rules/bound.h"

namespace weft::rules {

/// _linalg_solve_ex: batches are free, and the columns that are solved for.
bool bind_solve(const Call& call, BoundRule& bound, std::string& why);

/// _trilinear, of which nn.Bilinear is made: a sum of products of three tensors, each without some of the dimensions.
bool bind_trilinear(const Call& call, BoundRule& bound, std::string& why);

}  // namespace weft::rules
