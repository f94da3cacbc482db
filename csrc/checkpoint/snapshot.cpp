#include "checkpoint/snapshot.h"

#include <ATen/ATen.h>

#include "checkpoint/large_pages.h"
#include "mesh/context.h"
#include "tensor/below_autograd.h"

namespace weft::checkpoint {
namespace {

struct Memory : ContextState {
  SnapshotMemory memory;
};

}  // namespace

at::Tensor SnapshotMemory::copy(const at::Tensor& tensor) {
  const BelowAutograd guard;
  const auto bytes = static_cast<int64_t>(tensor.numel() * tensor.element_size());
  if (next_ == kept_.size()) kept_.emplace_back();
  at::Tensor& memory = kept_[next_++];
  if (!memory.defined() || memory.numel() != bytes) {
    memory = at::empty(bytes, at::kByte);
    prefer_large_pages(memory.mutable_data_ptr(), static_cast<size_t>(bytes));
  }
  at::Tensor out = memory.view(tensor.scalar_type()).view(tensor.sizes());
  return out.copy_(tensor);
}

SnapshotMemory& snapshot_memory() { return context().state<Memory>().memory; }

}  // namespace weft::checkpoint
