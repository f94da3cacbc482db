#include "tensor/traced.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include "tensor/sharded.h"

namespace weft {

at::Tensor for_program(const at::Tensor& tensor) {
  if (C10_LIKELY(!holds_shards(tensor) || !is_traced(sharded(tensor).local()) || is_traced(tensor))) return tensor;
  // Its kernel is the Python package's.
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("weft::_as_traced", "").typed<at::Tensor(const at::Tensor&)>();
  return op.redispatch(c10::DispatchKeySet(kKey), tensor);
}

}  // namespace weft
