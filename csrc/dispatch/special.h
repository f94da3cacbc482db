#pragma once
// Ops that are not run on shards by a rule: those about identity and memory, and in-place views.
#include "rules/op_info.h"

namespace weft {

using Special = void (*)(const OpInfo& op, std::vector<c10::IValue>& stack);
/// How an op runs past rules and plans; null for nearly all.
Special find_special(const OpInfo& op);

}  // namespace weft
