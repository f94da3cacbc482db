#include "dispatch/refuse.h"

#include "tensor/key.h"
#include "tensor/strided.h"

namespace weft {

c10::DispatchKey mixed_key(c10::DispatchKey kind) {
  return c10::toRuntimePerBackendFunctionalityKey(kind, c10::toBackendComponent(kKey));
}

void refuse_mixed(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack*) {
  const std::string name = op.operator_name().name;
  refuse_kind(name.rfind("aten::", 0) == 0 ? name.substr(6) : name, "sparse, nested or quantized");
}

}  // namespace weft
