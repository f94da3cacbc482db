#pragma once
// Indexing with masks: of these, how many places they choose is known to no rule.
#include "rules/op_info.h"

namespace weft {

/// index.Tensor, index_put and their variants: masks become the indices of what they choose, for which there is a rule,
/// but where the rule takes the mask itself.
void run_indexing(const OpInfo& op, std::vector<c10::IValue>& stack);

}  // namespace weft
