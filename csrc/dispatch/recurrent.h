#pragma once
// Recurrent layers and cells, which core makes of other ops.
#include <torch/library.h>

#include <memory>
#include <vector>

namespace weft {

/// Has their state split over the batch as their input is, before they begin: what a step writes keeps the layout of
/// the state, so that one that is whole (the zeros of `nn.RNN`) would have each step gathered. `libraries` keeps the
/// registrations.
void register_recurrent(std::vector<std::unique_ptr<torch::Library>>& libraries);

}  // namespace weft
