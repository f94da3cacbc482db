#include "plan/local_view.h"

#include <ATen/ops/as_strided_native.h>

#include <memory>

#include "tensor/traced.h"

namespace weft {

at::Tensor LocalView::of(const at::Tensor& shard) const {
  const Known* known = known_.load(std::memory_order_acquire);
  if (known == nullptr || is_traced(shard) || !shard.sizes().equals(known->sizes) ||
      !shard.strides().equals(known->strides))
    return {};
  return at::native::as_strided_tensorimpl(shard, known->view_sizes, known->view_strides,
                                           shard.storage_offset() + known->offset);
}

void LocalView::learn(const at::Tensor& shard, const at::Tensor& view) const {
  if (known_.load(std::memory_order_acquire) != nullptr || is_traced(shard)) return;
  // More than geometry: lazy conjugation, another dtype, a copy.
  if (!view.is_alias_of(shard) || view.key_set() != shard.key_set() || view.dtype() != shard.dtype()) return;
  auto known = std::make_unique<Known>();
  known->sizes = shard.sizes();
  known->strides = shard.strides();
  known->view_sizes = view.sizes();
  known->view_strides = view.strides();
  known->offset = view.storage_offset() - shard.storage_offset();
  const Known* none = nullptr;
  if (known_.compare_exchange_strong(none, known.get(), std::memory_order_acq_rel)) known.release();
}

}  // namespace weft
