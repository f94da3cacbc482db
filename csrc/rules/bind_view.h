#pragma once
// Binders of the view ops: each dimension of the result in terms of the input's.
#include "rules/bound.h"

namespace weft::rules {

/// view, reshape, unflatten, ...: groups of dimensions with equal products share factors; folded ones are compounds.
bool bind_reshape(const Call& call, BoundRule& bound, std::string& why);

// Ops that reorder, drop, insert, repeat or cut dimensions of their one tensor; each result dimension comes from one
// input dimension or none.
bool bind_t(const Call& call, BoundRule& bound, std::string& why);
bool bind_transpose(const Call& call, BoundRule& bound, std::string& why);
bool bind_permute(const Call& call, BoundRule& bound, std::string& why);
bool bind_unsqueeze(const Call& call, BoundRule& bound, std::string& why);
bool bind_squeeze(const Call& call, BoundRule& bound, std::string& why);
bool bind_select(const Call& call, BoundRule& bound, std::string& why);
bool bind_split(const Call& call, BoundRule& bound, std::string& why);
bool bind_slice(const Call& call, BoundRule& bound, std::string& why);
bool bind_expand(const Call& call, BoundRule& bound, std::string& why);
bool bind_diagonal(const Call& call, BoundRule& bound, std::string& why);
bool bind_diag_embed(const Call& call, BoundRule& bound, std::string& why);
bool bind_unfold(const Call& call, BoundRule& bound, std::string& why);
bool bind_view_as_real(const Call& call, BoundRule& bound, std::string& why);
bool bind_view_as_complex(const Call& call, BoundRule& bound, std::string& why);
bool bind_pad(const Call& call, BoundRule& bound, std::string& why);
bool bind_repeat(const Call& call, BoundRule& bound, std::string& why);

/// select_backward, slice_backward, ...
bool bind_view_backward(const Call& call, BoundRule& bound, std::string& why);
/// select_scatter, slice_scatter, ...
bool bind_view_scatter(const Call& call, BoundRule& bound, std::string& why);

}  // namespace weft::rules
