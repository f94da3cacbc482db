#pragma once
// Causal attention of queries that are some of the whole's: they see the keys up to their own place.
#include <layout/shard.h>
#include <rules/window.h>

#include "rules/op_info.h"

namespace weft {

/// Runs the attention op (or its backward) on the stack, `queries` being the places of its queries, with the keys that
/// some of them see and a mask; gradients of keys that none sees are zeros.
void run_causal(const OpInfo& op, const Rows& queries, std::vector<c10::IValue>& stack);

}  // namespace weft
