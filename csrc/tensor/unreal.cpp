#include "tensor/unreal.h"

#include <ATen/ops/empty_strided.h>
#include <c10/util/Exception.h>

#include "tensor/below_autograd.h"

namespace weft {

at::Tensor plain_on(Mesh mesh, const at::Tensor& tensor) {
  if (!mesh->is_simulated() || tensor.is_meta()) return tensor;
  BelowAutograd guard;
  return at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(at::kMeta));
}

void need_values(const std::string& op, Mesh mesh) {
  TORCH_CHECK_NOT_IMPLEMENTED(!mesh->is_simulated(), "[W073] [", op,
                              "] needs values, as item(), bool(x) and nonzero() do, and over ", mesh->str(),
                              ", which is simulated, tensors have shapes alone");
}

}  // namespace weft
