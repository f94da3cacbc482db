#include "tensor/memory.h"

#include <c10/core/impl/TorchDispatchModeTLS.h>
#include <c10/util/Exception.h>

namespace weft {

void check_memory(const std::string& what, const at::Tensor& tensor) {
  if (!tensor.unsafeGetTensorImpl()->is_python_dispatch() || tensor.is_meta() || tensor.numel() == 0) return;
  if (c10::impl::TorchDispatchModeTLS::any_modes_set()) return;  // a compiler's, which stands for one that has
  TORCH_CHECK_VALUE(tensor.has_storage() && tensor.storage().data() != nullptr, "[W057] ", what,
                    ": the tensor is of a subclass that has no memory of its own, and cannot be laid out; pass the "
                    "whole value as a plain tensor, or of a DTensor weft.from_dtensor(x)");
}

}  // namespace weft
