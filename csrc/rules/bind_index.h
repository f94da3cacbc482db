#pragma once
#include "rules/bound.h"

namespace weft::rules {

/// index.Tensor, index_select, index_put: dimensions without an index are free; indices of a read may be split, and so
/// may the dimension that one index alone looks into: what other ranks hold is masked. Writing one value to what a mask
/// chooses needs no index: all dimensions are free.
bool bind_index(const Call& call, BoundRule& bound, std::string& why);
/// masked_scatter and its gradient: all places before an element tell which entry it takes; the first dimension that is
/// split stays so, and they are counted over its parts.
bool bind_masked_scatter(const Call& call, BoundRule& bound, std::string& why);
bool bind_masked_scatter_backward(const Call& call, BoundRule& bound, std::string& why);
/// new_zeros, new_empty, ...: as self where the shape is self's.
bool bind_new(const Call& call, BoundRule& bound, std::string& why);

}  // namespace weft::rules
