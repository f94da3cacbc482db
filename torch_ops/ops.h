#pragma once
// torch.ops.weft, by what its ops are about.
#include <torch/library.h>

#include "classes.h"

#define WEFT_CLASS "__torch__.torch.classes.weft."

namespace weft {

/// Defines an op. TorchScript takes an op for a pure function unless told otherwise, and drops or merges calls: these
/// act on the process, or share memory with what they are given.
template <class Function>
void define_op(torch::Library& library, const char* schema, Function&& function) {
  library.def(torch::schema(schema, c10::AliasAnalysisKind::CONSERVATIVE), std::forward<Function>(function));
}

void define_tensor_ops(torch::Library& library);
void define_traced_ops(torch::Library& library);
void define_process_ops(torch::Library& library);
void define_layout_ops(torch::Library& library);
void define_checkpoint_ops(torch::Library& library);

}  // namespace weft
