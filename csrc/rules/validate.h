#pragma once
// Whether a rule says something that its op can have.
#include "rules/op_info.h"
#include "rules/rule.h"

namespace weft::rules {

/// Parses a user's rule for `op`. Raises ValueError, naming the op, the text and the place in it, where the text is no
/// rule or does not fit the op's schema.
Rule parse_for(const OpInfo& op, const std::string& text);

/// Raises ValueError where a rule of table/ has an attribute whose recipe reads an argument that `op` has not: `halo`
/// (a window's), `causal` (attention's), `masked` (indices).
void check_recipes(const OpInfo& op, const Rule& rule);

}  // namespace weft::rules
