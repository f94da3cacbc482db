#include "tensor/unreal.h"

#include <ATen/ops/empty_strided.h>

#include "tensor/below_autograd.h"

namespace weft {

at::Tensor plain_on(Mesh mesh, const at::Tensor& tensor) {
  if (!mesh->is_simulated() || tensor.is_meta()) return tensor;
  BelowAutograd guard;
  return at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(at::kMeta));
}

}  // namespace weft
