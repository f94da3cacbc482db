#pragma once
// Ops of core that are made of others, but read the memory of a tensor on the way: that tensor is gathered for them, or
// they run whole on every rank.
#include <torch/library.h>

#include <memory>
#include <vector>

namespace weft {

/// Registers them; `libraries` keeps the registrations.
void register_opaque(std::vector<std::unique_ptr<torch::Library>>& libraries);

}  // namespace weft
