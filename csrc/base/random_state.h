#pragma once
// The state of random streams as tensors: that of torch's generators, from which Weft's own draws take their keys.
#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace weft {

/// The states by device, "cpu", and "cuda" where this process has one, as tensors of bytes on the CPU.
std::vector<std::pair<std::string, at::Tensor>> random_state();
void set_random_state(const std::string& device, const at::Tensor& state);

}  // namespace weft
