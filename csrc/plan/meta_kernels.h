#pragma once
// Shapes, strides and dtypes of results without Python: core's compiled meta kernels, called directly.
#include <ATen/core/dispatch/Dispatcher.h>

#include <vector>

namespace weft {

/// Replaces the arguments on the stack (meta tensors) by the results' meta tensors; false, with the stack as it was,
/// where nothing compiled tells them. Raises what the kernel raises.
/// @param on_cpu whether the op runs on CPUs, whose kernels lay some results out in another order of memory than GPUs'
bool run_compiled_meta(const c10::OperatorHandle& op, std::vector<c10::IValue>& stack, bool on_cpu);

/// Whether what run_compiled_meta raises of the op, the op itself would raise of the full tensors: they check alike.
bool refuses_as_core(const c10::OperatorHandle& op);

}  // namespace weft
