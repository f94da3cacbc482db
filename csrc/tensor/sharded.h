#pragma once
// ShardedTensorImpl: a tensor without storage whose metadata are those of the full tensor and whose values are the
// ranks' local shards.
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/TensorImpl.h>
#include <c10/util/SmallVector.h>
#include <weft/layout.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "layout/shard.h"
#include "tensor/identity.h"
#include "tensor/key.h"
#include "tensor/pooled.h"

namespace weft {

/// Sizes, strides and storage offset (in elements) of a full tensor.
struct Geometry {
  Sizes sizes, strides;
  int64_t offset = 0;
  int64_t numel() const {
    int64_t n = 1;
    for (int64_t s : sizes) n *= s;
    return n;
  }
};

/// Content that a collective still brings.
struct Incoming {
  virtual ~Incoming() = default;
  /// Waits for it and puts it into all cells that it is for.
  virtual void arrive() = 0;
};

/// What a root tensor, its detached aliases, autograd's saved copies and its views share: the local shard of the root
/// and its layout. A pending reduction that is carried out once replaces the content for all of them (the old memory is
/// never written). Which op does so follows from program order alone, so every rank does it alike. It is made when a
/// tensor is first shared: most results never are.
struct Cell final : c10::intrusive_ptr_target, Pooled<Cell> {
  at::Tensor local;
  Layout layout = nullptr;
  Geometry geometry;                    // of the root
  std::atomic<uint64_t> generation{0};  // counts replacements of the content
  std::atomic<uint64_t> writes{0};      // counts in-place writes through any alias or view
  std::mutex mutex;                     // guards local, layout and incoming while they are replaced
  std::shared_ptr<Incoming> incoming;   // null: the content is here
  const std::string* path = nullptr;    // interned, of the variable, where it was tagged
  std::atomic<bool> shown{false};       // a program looks into the root's memory by itself (local_tensor, from_local)
  Layout home = nullptr;                // of a variable, while its value has another number of dimensions
  std::atomic<Identity> identity{0};    // of the root's value

  // Who only remembers it keeps no memory.
  void release_resources() override {
    local = at::Tensor();
    incoming = nullptr;
  }
};

/// One view op of the chain that leads from the root to a view.
struct ViewStep final : c10::intrusive_ptr_target, Pooled<ViewStep> {
  c10::intrusive_ptr<ViewStep> previous;
  const c10::OperatorHandle* op = nullptr;
  c10::SmallVector<c10::IValue, 4> arguments;  // all but the first, which is the tensor viewed
  int64_t output = -1;                         // which of a list of results; -1: the op returns one tensor
};

class ShardedTensorImpl final : public c10::TensorImpl, public Pooled<ShardedTensorImpl> {
 public:
  /// A root, shared with nobody yet.
  ShardedTensorImpl(at::Tensor local, Layout layout, const Geometry& geometry);
  /// One of those that share a cell.
  ShardedTensorImpl(c10::intrusive_ptr<Cell> cell, at::Tensor local, Layout layout, const Geometry& geometry);
  ~ShardedTensorImpl() override;

  /// The local shard and its layout, up to date with the cell. The reference is good until the next op.
  const at::Tensor& local() const {
    if (C10_UNLIKELY(stale())) refresh();
    return local_;
  }
  Layout layout() const {
    if (C10_UNLIKELY(stale())) refresh();
    return layout_;
  }
  /// Whether the local shard is here; if not, to ask for it waits for others, or fetches what they hold.
  bool is_here() const;
  /// The layout, nothing waited for: of what will be here.
  Layout known_layout() const;
  /// Made where there is none yet.
  Cell& cell() const;
  c10::intrusive_ptr<Cell> shared_cell() const;
  /// null: it is shared with nobody.
  Cell* known_cell() const { return cell_.load(std::memory_order_acquire); }
  /// What its content still waits for; null: nothing. Does not wait itself.
  std::shared_ptr<Incoming> incoming() const {
    if (C10_LIKELY(!stale())) return nullptr;
    std::lock_guard<std::mutex> lock(cell().mutex);
    return cell().incoming;
  }
  const c10::intrusive_ptr<ViewStep>& chain() const { return chain_; }
  /// Whether the local shard is a copy made of the root's data, not an alias of the root's shard: a write to it must be
  /// carried back to the root, and a write to the root makes it stale.
  bool is_moved() const { return moved_; }
  Geometry geometry() const;
  /// The path of the variable it belongs to; empty: none.
  const std::string& path() const;
  /// The same; null: none.
  const std::string* interned_path() const {
    const Cell* cell = known_cell();
    return cell != nullptr ? cell->path : nullptr;
  }
  Identity identity() const {
    const Cell* cell = known_cell();
    if (cell == nullptr) return identity_;
    const Identity root = cell->identity.load(std::memory_order_relaxed);
    return chain_ ? mix(root, view_) : root;
  }
  void set_identity(Identity identity);

  /// From now on ops on it are asked for at kEntriesKey first.
  void hold_entries() { key_set_ = key_set_.add(kEntriesKey); }
  bool holds_entries() const { return key_set_.has(kEntriesKey); }

  /// From now on it is as programs hold one of traced parts (tensor/traced.h): Python is asked first, and all that
  /// share its content are known by one storage, which has no memory.
  void become_traced();
  void share_storage(const ShardedTensorImpl& other) {
    if (C10_UNLIKELY(other.storage_ && !other.offers_memory_)) set_empty_storage(other.storage_);
  }

  /// Makes this a view of its cell's root, `chain` leading to it.
  void set_view(c10::intrusive_ptr<ViewStep> chain, bool moved);
  /// Takes over what `other` is (in-place view ops, set_data).
  void swap_impl(const ShardedTensorImpl& other);
  /// The same tensor anew, its content not waited for.
  c10::intrusive_ptr<ShardedTensorImpl> alias() const;
  /// A sharded tensor has none, but for one: autograd's engine adds up the gradients of a tensor's uses in the memory
  /// of the first where nobody else holds its storage. One that nobody else holds, nor its shard, in the midst of a
  /// backward pass has such a storage, of its own and without memory, when the engine asks.
  bool has_storage() const override;
  /// Whether it was asked for that, so that an `add_` is that sum (kernels/sum_of_gradients.h).
  bool takes_sum() const { return offers_memory_ && known_cell() == nullptr && pyobj_slot()->load_pyobj() == nullptr; }
  void end_sum() { offer_memory(false); }
  /// Whether nobody else looks into the shard's memory, each element of which is one of the shard.
  bool owns_shard_alone() const;
  /// After the local shard was written in place.
  void wrote() {
    set_identity(new_identity());
    if (Cell* cell = known_cell()) {
      seen_writes_ = cell->writes.fetch_add(1, std::memory_order_acq_rel) + 1;
      if (C10_UNLIKELY(cell->shown.load(std::memory_order_relaxed))) count_shown_write(*cell);
    }
  }

  /// Core's errors name a tensor so where somebody asks for its memory.
  const char* tensorimpl_type_name() const override {
    return "a sharded tensor: [W060] it has no memory of its own to share; use weft.full_tensor(x) or "
           "weft.local_tensor(x) first, or weft.save to save it";
  }
  c10::intrusive_ptr<TensorImpl> shallow_copy_and_detach(const c10::VariableVersion& version_counter,
                                                         bool allow_tensor_metadata_change) const override;
  c10::intrusive_ptr<TensorImpl> shallow_copy_and_detach(c10::VariableVersion&& version_counter,
                                                         bool allow_tensor_metadata_change) const override;
  void shallow_copy_from(const c10::intrusive_ptr<TensorImpl>& impl) override;

 private:
  bool stale() const {
    const Cell* cell = known_cell();
    return cell != nullptr && (generation_ != cell->generation.load(std::memory_order_acquire) ||
                               (moved_ && seen_writes_ != cell->writes.load(std::memory_order_acquire)));
  }
  void refresh() const;
  static void count_shown_write(const Cell& cell);
  void set_empty_storage(const c10::Storage& storage);
  void offer_memory(bool on);
  ShardedTensorImpl(at::Tensor local, Layout layout, const Geometry& geometry, Identity identity);
  void set_geometry(const Geometry& geometry);
  template <class Version>
  c10::intrusive_ptr<TensorImpl> copy_and_detach(Version&& version_counter, bool allow_tensor_metadata_change) const;

  mutable std::atomic<Cell*> cell_{nullptr};  // owned; null: shared with nobody
  c10::intrusive_ptr<ViewStep> chain_;        // null: the root itself
  bool moved_ = false;
  bool offers_memory_ = false;  // storage_ is there for the sum of gradients
  Identity identity_;           // while there is no cell
  uint64_t view_ = 0;           // which part of the root a view is
  // Caches of the cell's content seen through the chain.
  mutable at::Tensor local_;
  mutable Layout layout_;
  mutable uint64_t generation_ = 0;
  mutable uint64_t seen_writes_ = 0;
};

inline bool holds_shards(const at::TensorBase& t) {
  return t.defined() && t.key_set().has_backend(c10::toBackendComponent(kKey));
}

/// The implementation of a sharded tensor; null for any other tensor.
inline ShardedTensorImpl* sharded_impl(const at::TensorBase& t) {
  if (!holds_shards(t)) return nullptr;
  return dynamic_cast<ShardedTensorImpl*>(t.unsafeGetTensorImpl());
}
/// The same where the caller knows that it is one of ours.
inline ShardedTensorImpl& sharded(const at::TensorBase& t) {
  return *static_cast<ShardedTensorImpl*>(t.unsafeGetTensorImpl());
}

/// Replaces the root's content by an equal value in another layout, or by what has arrived, for all aliases and views.
void replace_content(Cell& cell, at::Tensor local, Layout layout);

/// From now on whoever reads the root, an alias or a view of it waits for `incoming` first.
void await_content(Cell& cell, std::shared_ptr<Incoming> incoming);

/// A new root tensor over a local shard.
at::Tensor make_sharded(at::Tensor local, Layout layout, const Geometry& geometry);
/// A new root tensor whose content comes later; `placeholder`: a tensor without elements, of its dtype and device.
at::Tensor make_incoming(std::shared_ptr<Incoming> incoming, at::Tensor placeholder, Layout layout,
                         const Geometry& geometry);
/// A tensor that shares `base`'s cell.
at::Tensor make_view(const ShardedTensorImpl& base, at::Tensor local, Layout layout, const Geometry& geometry,
                     c10::intrusive_ptr<ViewStep> chain, bool moved);

/// A plain tensor's geometry.
Geometry geometry_of(const at::Tensor& t);

/// Replays the view ops of `chain` on `root` (a sharded tensor); set by the dispatch folder, which runs ops.
using Replay = at::Tensor (*)(const at::Tensor& root, const ViewStep& chain);
void set_replay(Replay replay);

/// `variable.set_data(value)`, of any tensor; set by the module folder, which lays out plain ones.
using SetData = void (*)(ShardedTensorImpl& variable, const at::Tensor& value);
void set_set_data(SetData set_data);

}  // namespace weft
