#pragma once
// Ops that are not run on shards by a rule: those about identity and memory, and in-place views.
#include <optional>

#include "rules/op_info.h"

namespace weft {

using Special = void (*)(const OpInfo& op, std::vector<c10::IValue>& stack);
/// How an op runs past rules and plans; null for nearly all.
Special find_special(const OpInfo& op);

/// The overload that returns what an out= or in-place variant writes; none where core has none.
std::optional<c10::OperatorHandle> functional_of(const OpInfo& op);

}  // namespace weft
