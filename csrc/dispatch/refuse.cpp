#include "dispatch/refuse.h"

#include <c10/util/Exception.h>
#include <tensor/key.h>

namespace weft {
namespace {

const char* kind_of(const at::Tensor& t) {
  if (t.is_nested()) return "nested";
  if (t.is_quantized()) return "quantized";
  if (t.layout() == at::kStrided) return nullptr;
  return t.layout() == at::kMkldnn ? "mkldnn" : "sparse";
}

[[noreturn]] void refuse(const std::string& op, const std::string& kind) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, "[", op, "] a ", kind,
                              " tensor cannot be sharded, nor go together with sharded tensors; keep to strided ones, "
                              "or call weft.full_tensor(x) on the sharded ones first (on every rank)");
}

}  // namespace

void check_strided(const std::string& op, const at::Tensor& tensor) {
  if (const char* kind = tensor.defined() ? kind_of(tensor) : nullptr) refuse(op, kind);
}

c10::DispatchKey mixed_key(c10::DispatchKey kind) {
  return c10::toRuntimePerBackendFunctionalityKey(kind, c10::toBackendComponent(kKey));
}

void refuse_mixed(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack*) {
  const std::string name = op.operator_name().name;
  refuse(name.rfind("aten::", 0) == 0 ? name.substr(6) : name, "sparse, nested or quantized");
}

}  // namespace weft
