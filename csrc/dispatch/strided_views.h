#pragma once
// as_strided above autograd.
#include <torch/library.h>

#include <memory>
#include <vector>

namespace weft {

/// Takes as_strided apart into views that autograd knows where that can be (views/views.h): core's own backward of it
/// makes the gradient of the whole memory, of which each rank would need all. `libraries` keeps the registration.
void register_strided_views(std::vector<std::unique_ptr<torch::Library>>& libraries);

}  // namespace weft
