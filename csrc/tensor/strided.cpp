#include "tensor/strided.h"

#include <c10/util/Exception.h>

namespace weft {
namespace {

const char* kind_of(const at::Tensor& t) {
  if (t.is_nested()) return "nested";
  if (t.is_quantized()) return "quantized";
  if (t.layout() == at::kStrided) return nullptr;
  return t.layout() == at::kMkldnn ? "mkldnn" : "sparse";
}

}  // namespace

void refuse_kind(const std::string& op, const std::string& kind) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      false, "[W064] [", op, "] a ", kind,
      " tensor cannot be sharded here, nor go together with sharded ones; keep to strided tensors, "
      "or call weft.full_tensor(x) on the sharded ones first (on every rank)");
}

void check_strided(const std::string& op, const at::Tensor& tensor) {
  if (const char* kind = tensor.defined() ? kind_of(tensor) : nullptr) refuse_kind(op, kind);
}

}  // namespace weft
