#pragma once
// The rule of a call.
#include <string>

#include "rules/bound.h"

namespace weft {

/// The first of the op's rules that binds, in `bound`; false where none does, with the reason in `why`.
bool bind_first(const Call& call, rules::BoundRule& bound, std::string& why);

}  // namespace weft
