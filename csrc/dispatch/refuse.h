#pragma once
// Sparse, nested and quantized tensors have no shards: refused where they meet a sharded tensor or come out of one.
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <string>

namespace weft {

/// The dispatch key of calls that have tensors of that kind (Sparse, NestedTensor, …) beside sharded ones.
c10::DispatchKey mixed_key(c10::DispatchKey kind);

/// The kernel of calls whose tensors are sharded and sparse, nested or quantized: raises NotImplementedError.
void refuse_mixed(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack*);

}  // namespace weft
