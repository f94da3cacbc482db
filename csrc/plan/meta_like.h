#pragma once
// Results that have the shapes of arguments, of ops whose shapes core tells in Python alone and no tag tells.
#include <ATen/core/dispatch/Dispatcher.h>

#include <vector>

namespace weft {

/// As run_compiled_meta, for these ops.
bool run_meta_like(const c10::OperatorHandle& op, std::vector<c10::IValue>& stack);

}  // namespace weft
