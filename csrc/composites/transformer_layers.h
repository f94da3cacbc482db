#pragma once
// The fused layers that torch.nn's transformer modules take in eval mode ("fast path"), made of the ops of their other
// path, which have rules. What they make of nested tensors is made of padded ones and their masks.
#include <torch/library.h>

#include <memory>
#include <vector>

namespace weft {

/// Registers them for sharded tensors and for nested tensors that meet sharded ones; `libraries` keeps the
/// registrations.
void register_transformer_layers(std::vector<std::unique_ptr<torch::Library>>& libraries);

}  // namespace weft
