// The storage by which autograd's engine may add gradients up in a sharded tensor's memory.
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/graph_task.h>

#include "tensor/sharded.h"
#include "tensor/traced.h"

namespace weft {
namespace {

bool in_backward_without_graph() {
  return !c10::GradMode::is_enabled() && torch::autograd::get_current_graph_task_id() != -1;
}

// Whoever reads its memory raises.
c10::Storage without_memory(at::Device device) {
  c10::Storage storage(c10::Storage::use_byte_size_t(), 0, c10::DataPtr(nullptr, device));
  storage.unsafeGetStorageImpl()->release_data_and_set_meta_custom_data_ptr_error_msg_(std::nullopt);
  return storage;
}

}  // namespace

bool ShardedTensorImpl::owns_shard_alone() const {
  const Cell* cell = known_cell();  // one that it shared has it too
  if (cell != nullptr) {
    const bool shared = c10::raw::intrusive_ptr::use_count(known_cell()) != 1 || cell->path != nullptr;
    if (shared || chain_ || stale() || !cell->local.is_same(local_)) return false;
  }
  return local_.use_count() == (cell != nullptr ? 2 : 1) && local_.has_storage() && !is_traced(local_) &&
         local_.storage().use_count() == 1 && local_.is_non_overlapping_and_dense();
}

bool ShardedTensorImpl::has_storage() const {
  if (storage_ && !offers_memory_) return true;  // of traced parts
  const bool alone = in_backward_without_graph() &&
                     c10::raw::intrusive_ptr::use_count(const_cast<ShardedTensorImpl*>(this)) == 1 &&
                     pyobj_slot()->load_pyobj() == nullptr && owns_shard_alone();
  if (alone && !takes_sum()) const_cast<ShardedTensorImpl*>(this)->offer_memory(true);  // nobody else can be here
  return alone;
}

void ShardedTensorImpl::offer_memory(bool on) {
  if (on) {  // nor does anybody share its cell any longer
    identity_ = identity();
    c10::intrusive_ptr<Cell>::reclaim(cell_.exchange(nullptr, std::memory_order_acq_rel));
  }
  offers_memory_ = on;
  storage_ = on ? without_memory(device()) : c10::Storage();
  storage_access_should_throw_ = !on;
}

}  // namespace weft
