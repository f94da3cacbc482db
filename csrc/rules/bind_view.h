#pragma once
// Binders of the view ops: each dimension of the result in terms of the input's.
#include "rules/bound.h"

namespace weft::rules {

/// view, reshape, unflatten, ...: groups of dimensions with equal products share factors; folded ones are compounds.
bool bind_reshape(const Call& call, BoundRule& bound, std::string& why);
/// Ops that reorder, drop, insert, repeat or cut dimensions of their one tensor; each result dimension comes from one
/// input dimension or none.
bool bind_dims(const Call& call, BoundRule& bound, std::string& why);

}  // namespace weft::rules
