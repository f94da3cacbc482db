#pragma once
// Scripted modules may keep variables a second time, in lists and the like (LSTM's `_flat_weights`).
#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>

#include <unordered_map>

namespace weft {

using MadeOf = std::unordered_map<const c10::TensorImpl*, at::Tensor>;  // what each variable has become

/// Puts what variables have become into the module's attributes that hold them, but for those of modules in it.
void replace_in_attributes(const torch::jit::Module& module, const MadeOf& made);

}  // namespace weft
