#include "checkpoint/part.h"

#include <ATen/ATen.h>
#include <ATen/MemoryOverlap.h>
#include <c10/util/Exception.h>

#include "redistribute/redistribute.h"
#include "tensor/below_autograd.h"
#include "tensor/sharded.h"

namespace weft::checkpoint {

void finish_pending(const at::Tensor& tensor, const char* op) {
  if (!holds_shards(tensor) || !sharded(tensor).layout()->has_partial()) return;
  const ShardedTensorImpl& impl = sharded(tensor);
  const BelowAutograd guard;
  const RunningOp running(op, impl.identity(), impl.interned_path(), /*keeps_value=*/true);
  redistribute_content(impl.cell(), impl.cell().layout->without_partial());
}

at::Tensor part_to_read(const at::Tensor& tensor) {
  const at::Tensor value = tensor.detach();
  if (!holds_shards(value)) return value;
  finish_pending(value, "save");
  return sharded(value).local();
}

std::string cannot_fill(const at::Tensor& tensor) {
  const at::Tensor local = holds_shards(tensor) ? sharded(tensor).local() : tensor;
  if (local.is_meta()) return "a tensor on the meta device, which has no memory";
  if (holds_shards(tensor) && sharded(tensor).is_moved()) return "a view whose data had to be moved";
  if (at::has_internal_overlap(local) == at::MemOverlap::Yes) return "a tensor whose elements share memory";
  return {};
}

at::Tensor part_to_fill(const at::Tensor& tensor) {
  const std::string why = cannot_fill(tensor);
  TORCH_CHECK_VALUE(why.empty(), "[W116] load: cannot be read into ", why);
  if (!holds_shards(tensor)) return tensor.detach();
  finish_pending(tensor, "load");
  const RunningOp running("load", new_root("load"), nullptr);
  note_write(tensor);
  return sharded(tensor).local();
}

void note_write(const at::Tensor& tensor) {
  if (holds_shards(tensor)) sharded(tensor).wrote();
  if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
}

}  // namespace weft::checkpoint
