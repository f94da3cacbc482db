#pragma once
// Saving and loading as torch.ops.weft and torch.classes.weft have them.
#include <torch/library.h>

namespace weft {

void register_checkpoint_classes();
void define_checkpoint_ops(torch::Library& library);

}  // namespace weft
