#include "tensor/sharded.h"

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include "tensor/traced.h"

namespace weft {
namespace {

Replay replay_chain = nullptr;
SetData set_data_of = nullptr;

// What the local shard decides: all else is the same for every sharded tensor.
constexpr c10::DispatchKeySet kOfLocal({c10::DispatchKey::Conjugate, c10::DispatchKey::Negative,
                                        c10::DispatchKey::AutocastCUDA, c10::DispatchKey::AutocastCPU});

// On a simulated mesh shards are on the meta device; the tensor is where they would be.
at::Device device_of(const at::Tensor& local, Layout layout) {
  const at::Device device = local.device();
  if (C10_LIKELY(!device.is_meta() || !layout->mesh()->is_simulated())) return device;
  return at::Device(layout->mesh()->device_type());
}

c10::DispatchKeySet keys_for(const at::Tensor& local) {
  // No Dense bit: core then does not copy the key onto a plain tensor (dispatch/memory_readers.cpp answers it).
  c10::DispatchKeySet keys(local.is_sparse() ? mixed_key(c10::DispatchKey::Sparse) : kKey);
  keys = keys | c10::DispatchKeySet(local.is_cuda() ? c10::DispatchKey::AutocastCUDA : c10::DispatchKey::AutocastCPU);
  for (auto k : {c10::DispatchKey::Conjugate, c10::DispatchKey::Negative}) {
    if (local.key_set().has(k)) keys = keys.add(k);
  }
  if (C10_UNLIKELY(is_traced(local))) keys = keys.add(kEngineKey);
  return keys;
}

}  // namespace

void set_replay(Replay replay) { replay_chain = replay; }
void set_set_data(SetData set_data) { set_data_of = set_data; }

ShardedTensorImpl::ShardedTensorImpl(at::Tensor local, Layout layout, const Geometry& geometry)
    : ShardedTensorImpl(std::move(local), layout, geometry, new_identity()) {}

ShardedTensorImpl::ShardedTensorImpl(at::Tensor local, Layout layout, const Geometry& geometry, Identity identity)
    : TensorImpl(keys_for(local), local.dtype(), device_of(local, layout)),
      identity_(identity),
      local_(std::move(local)),
      layout_(layout) {
  set_geometry(geometry);
  set_storage_access_should_throw();
}

ShardedTensorImpl::ShardedTensorImpl(c10::intrusive_ptr<Cell> cell, at::Tensor local, Layout layout,
                                     const Geometry& geometry)
    : ShardedTensorImpl(std::move(local), layout, geometry, 0) {
  generation_ = cell->generation.load(std::memory_order_acquire);
  seen_writes_ = cell->writes.load(std::memory_order_acquire);
  cell_.store(cell.release(), std::memory_order_release);
}

ShardedTensorImpl::~ShardedTensorImpl() { c10::intrusive_ptr<Cell>::reclaim(known_cell()); }

Cell& ShardedTensorImpl::cell() const {
  if (Cell* known = known_cell()) return *known;
  auto made = c10::make_intrusive<Cell>();
  made->local = local_;
  made->layout = layout_;
  made->geometry = geometry();
  made->identity.store(identity_, std::memory_order_relaxed);
  Cell* known = nullptr;
  // Another thread may share it at the same time: the first cell stays.
  if (!cell_.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) return *known;
  return *made.release();
}

c10::intrusive_ptr<Cell> ShardedTensorImpl::shared_cell() const {
  return c10::intrusive_ptr<Cell>::unsafe_reclaim_from_nonowning(&cell());
}

const std::string& ShardedTensorImpl::path() const {
  static const std::string none;
  const Cell* cell = known_cell();
  return cell != nullptr && cell->path != nullptr ? *cell->path : none;
}

bool ShardedTensorImpl::is_here() const {
  if (C10_LIKELY(!stale())) return true;
  if (moved_ || incoming() != nullptr) return false;
  refresh();
  return true;
}

Layout ShardedTensorImpl::known_layout() const {
  if (is_here() || chain_) return layout_;
  Cell& root = cell();
  std::lock_guard<std::mutex> lock(root.mutex);
  return root.layout;
}

void ShardedTensorImpl::become_traced() {
  if (!storage_) {
    const auto byte_size = static_cast<int64_t>(numel() * dtype().itemsize());
    set_empty_storage(c10::Storage(c10::Storage::use_byte_size_t(), byte_size, c10::DataPtr(nullptr, device())));
  }
  key_set_ = key_set_.remove(kEngineKey);
}

void ShardedTensorImpl::set_empty_storage(const c10::Storage& storage) {
  storage_ = storage;
  storage_access_should_throw_ = false;
}

void ShardedTensorImpl::set_geometry(const Geometry& geometry) {
  sizes_and_strides_.set_sizes(geometry.sizes);
  sizes_and_strides_.set_strides(geometry.strides);
  storage_offset_ = geometry.offset;
  refresh_numel();
  refresh_contiguous();
}

Geometry ShardedTensorImpl::geometry() const {
  Geometry g;
  const auto sizes = sizes_and_strides_.sizes_arrayref(), strides = sizes_and_strides_.strides_arrayref();
  g.sizes.assign(sizes.begin(), sizes.end());
  g.strides.assign(strides.begin(), strides.end());
  g.offset = storage_offset_;
  return g;
}

void ShardedTensorImpl::set_view(c10::intrusive_ptr<ViewStep> chain, bool moved) {
  chain_ = std::move(chain);
  moved_ = moved;
  view_ = static_cast<uint64_t>(storage_offset_);
  for (int64_t size : sizes_and_strides_.sizes_arrayref()) view_ = mix(view_, static_cast<uint64_t>(size));
  for (int64_t stride : sizes_and_strides_.strides_arrayref()) view_ = mix(view_, static_cast<uint64_t>(stride));
}

void ShardedTensorImpl::set_identity(Identity identity) {
  Cell* cell = known_cell();
  if (cell == nullptr) {
    identity_ = identity;
  } else if (chain_) {  // a part of the root is another
    cell->identity.store(mix(cell->identity.load(std::memory_order_relaxed), identity), std::memory_order_relaxed);
  } else {
    cell->identity.store(identity, std::memory_order_relaxed);
  }
}

void ShardedTensorImpl::swap_impl(const ShardedTensorImpl& other) {
  const Geometry geometry = other.geometry();
  c10::intrusive_ptr<Cell>::reclaim(cell_.exchange(other.shared_cell().release(), std::memory_order_acq_rel));
  chain_ = other.chain_;
  moved_ = other.moved_;
  view_ = other.view_;
  local_ = other.local_;
  layout_ = other.layout_;
  generation_ = other.generation_;
  seen_writes_ = other.seen_writes_;
  key_set_ = (key_set_ - kOfLocal) | (other.key_set_ & kOfLocal);
  data_type_ = other.data_type_;
  device_opt_ = other.device_opt_;
  set_geometry(geometry);
}

// Whoever else looks into the memory, a plain tensor that autograd saved or another sharded one, goes by its version.
void ShardedTensorImpl::count_shown_write(const Cell& cell) {
  const at::Tensor& local = cell.local;
  if (!local.is_inference() && !is_traced(local)) local.unsafeGetTensorImpl()->bump_version();
}

void replace_content(Cell& cell, at::Tensor local, Layout layout) {
  std::lock_guard<std::mutex> lock(cell.mutex);
  cell.local = std::move(local);
  cell.layout = layout;
  cell.incoming = nullptr;
  cell.generation.fetch_add(1, std::memory_order_acq_rel);
}

void await_content(Cell& cell, std::shared_ptr<Incoming> incoming) {
  std::lock_guard<std::mutex> lock(cell.mutex);
  cell.incoming = std::move(incoming);
  cell.generation.fetch_add(1, std::memory_order_acq_rel);  // whoever reads it looks into the cell first
}

void ShardedTensorImpl::refresh() const {
  at::Tensor local;
  Layout layout;
  uint64_t generation = 0, writes = 0;
  std::shared_ptr<Incoming> incoming;
  const auto cell = shared_cell();
  {
    std::lock_guard<std::mutex> lock(cell->mutex);
    incoming = cell->incoming;
  }
  if (incoming) incoming->arrive();
  {
    std::lock_guard<std::mutex> lock(cell->mutex);
    local = cell->local;
    layout = cell->layout;
    generation = cell->generation.load(std::memory_order_acquire);
    writes = cell->writes.load(std::memory_order_acquire);
  }
  if (chain_) {
    auto root = c10::make_intrusive<ShardedTensorImpl>(cell, std::move(local), layout, cell->geometry);
    const at::Tensor view = replay_chain(at::Tensor(std::move(root)), *chain_);
    local = sharded(view).local_;
    layout = sharded(view).layout_;
  }
  local_ = std::move(local);
  layout_ = layout;
  generation_ = generation;  // last: where something raised, it is as stale as before
  seen_writes_ = writes;
}

c10::intrusive_ptr<ShardedTensorImpl> ShardedTensorImpl::alias() const {
  // An alias of a normal tensor is a normal tensor, as it needs the base's version counter, and that of an inference
  // tensor one too, whatever the mode is.
  c10::InferenceMode guard(const_cast<ShardedTensorImpl*>(this)->is_inference());
  static const Geometry scalar;
  auto copy = c10::make_intrusive<ShardedTensorImpl>(shared_cell(), local_, layout_, scalar);
  // Sizes, strides, and what follows from them: nothing of it is worked out anew.
  copy_generic_tensor_metadata(this, copy.get());
  copy->numel_ = numel_;
  copy->is_wrapped_number_ = false;
  copy->generation_ = generation_;
  copy->seen_writes_ = seen_writes_;
  copy->chain_ = chain_;
  copy->moved_ = moved_;
  copy->view_ = view_;
  if (holds_entries()) copy->hold_entries();
  copy->share_storage(*this);
  return copy;
}

template <class Version>
c10::intrusive_ptr<c10::TensorImpl> ShardedTensorImpl::copy_and_detach(Version&& version_counter,
                                                                       bool allow_tensor_metadata_change) const {
  if (C10_UNLIKELY(key_set_.has(c10::DispatchKey::Python))) {
    const c10::intrusive_ptr<TensorImpl> copy = for_program(at::Tensor(alias())).getIntrusivePtr();
    if (!copy->is_inference()) copy->set_version_counter(std::forward<Version>(version_counter));
    copy->set_allow_tensor_metadata_change(allow_tensor_metadata_change);
    return copy;
  }
  auto copy = alias();
  if (!copy->is_inference()) copy->set_version_counter(std::forward<Version>(version_counter));
  copy->set_allow_tensor_metadata_change(allow_tensor_metadata_change);
  if (is_wrapped_number()) copy->set_wrapped_number(true);
  return copy;
}

c10::intrusive_ptr<c10::TensorImpl> ShardedTensorImpl::shallow_copy_and_detach(
    const c10::VariableVersion& version_counter, bool allow_tensor_metadata_change) const {
  return copy_and_detach(version_counter, allow_tensor_metadata_change);
}

c10::intrusive_ptr<c10::TensorImpl> ShardedTensorImpl::shallow_copy_and_detach(
    c10::VariableVersion&& version_counter, bool allow_tensor_metadata_change) const {
  return copy_and_detach(std::move(version_counter), allow_tensor_metadata_change);
}

void ShardedTensorImpl::shallow_copy_from(const c10::intrusive_ptr<TensorImpl>& impl) {
  set_data_of(*this, at::Tensor(impl));
}

at::Tensor make_sharded(at::Tensor local, Layout layout, const Geometry& geometry) {
  return at::Tensor(c10::make_intrusive<ShardedTensorImpl>(std::move(local), layout, geometry));
}

at::Tensor make_incoming(std::shared_ptr<Incoming> incoming, at::Tensor placeholder, Layout layout,
                         const Geometry& geometry) {
  at::Tensor tensor = make_sharded(std::move(placeholder), layout, geometry);
  await_content(sharded(tensor).cell(), std::move(incoming));
  return tensor;
}

at::Tensor make_view(const ShardedTensorImpl& base, at::Tensor local, Layout layout, const Geometry& geometry,
                     c10::intrusive_ptr<ViewStep> chain, bool moved) {
  c10::InferenceMode guard(const_cast<ShardedTensorImpl&>(base).is_inference());  // as in alias
  auto impl = c10::make_intrusive<ShardedTensorImpl>(base.shared_cell(), std::move(local), layout, geometry);
  impl->set_view(std::move(chain), moved);
  impl->share_storage(base);
  return at::Tensor(std::move(impl));
}

Geometry geometry_of(const at::Tensor& t) {
  Geometry g;
  g.sizes.assign(t.sizes().begin(), t.sizes().end());
  g.strides.assign(t.strides().begin(), t.strides().end());
  g.offset = t.storage_offset();
  return g;
}

}  // namespace weft
