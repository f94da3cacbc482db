#include "checkpoint/snapshot.h"

#include <ATen/ATen.h>

#include "base/in_parallel.h"
#include "checkpoint/large_pages.h"
#include "checkpoint/stream_copy.h"
#include "tensor/below_autograd.h"

namespace weft::checkpoint {
namespace {

constexpr int64_t kGrain = 4 << 20;  // bytes that are worth a thread of their own

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
  if (!tensor.is_cpu() || !tensor.is_contiguous()) return out.copy_(tensor);
  const auto* from = static_cast<const char*>(tensor.const_data_ptr());
  auto* to = static_cast<char*>(out.mutable_data_ptr());
  in_parallel(bytes, kGrain, [&](int64_t begin, int64_t end) {
    stream_copy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
  return out;
}

}  // namespace weft::checkpoint
