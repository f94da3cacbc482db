#pragma once
// Kernels of an op's own C++ signature, for signatures that many ops have: a call whose plan is direct
// (kernels/direct_call.h) is never boxed. All others are, and take the boxed kernel's way.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <optional>
#include <string>
#include <vector>

namespace weft {

/// None: the op is not core's, or has another signature than those of the table in unboxed.cpp.
std::optional<torch::CppFunction> unboxed_kernel(const c10::OperatorHandle& op);

/// The table's signatures, as schemas tell types: "Tensor!,Tensor,number->Tensor!".
std::vector<std::string> unboxed_signatures();

}  // namespace weft
