#pragma once
#include "rules/bound.h"

namespace weft::rules {

/// _grouped_mm: products of groups of matrices, or of groups that offsets cut out of a plain matrix.
bool bind_grouped_mm(const Call& call, BoundRule& bound, std::string& why);

}  // namespace weft::rules
