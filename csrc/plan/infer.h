#pragma once
// Shapes of results by core's own meta kernels.
#include <functional>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace weft {

/// The arguments with `made` in place of each tensor that is there, and `device` where one is named.
std::vector<c10::IValue> arguments_with(const Call& call, c10::ArrayRef<c10::IValue> arguments, at::Device device,
                                        const std::function<at::Tensor(const TensorInfo&)>& made);

/// infer_results, which says why where core cannot.
bool infer_results(Call& call, std::string& why);

}  // namespace weft
