#pragma once
// Ops that fill a tensor with random values: by global index, or by plain torch's stream in replay mode.
#include "rules/op_info.h"

namespace weft {

void run_random(const OpInfo& op, std::vector<c10::IValue>& stack);

}  // namespace weft
