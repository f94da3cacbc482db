#pragma once
// What a view op makes of a shard. Shards of one geometry are viewed alike: it is remembered from the first time, and
// the op need not be called again.
#include <ATen/core/Tensor.h>

#include <atomic>

#include "layout/shard.h"

namespace weft {

class LocalView {
 public:
  LocalView() = default;
  LocalView(LocalView&& other) noexcept : known_(other.known_.exchange(nullptr)) {}
  LocalView& operator=(LocalView&& other) noexcept {
    delete known_.exchange(other.known_.exchange(nullptr));
    return *this;
  }
  ~LocalView() { delete known_.load(); }

  /// The view of `shard`. Undefined: nothing is known of shards of its geometry.
  at::Tensor of(const at::Tensor& shard) const;
  /// `view` is what the op made of `shard`. The first shard's geometry stays the one that is known.
  void learn(const at::Tensor& shard, const at::Tensor& view) const;

 private:
  struct Known {
    Sizes sizes, strides, view_sizes, view_strides;
    int64_t offset;  // from the shard's first element to the view's
  };
  mutable std::atomic<const Known*> known_{nullptr};
};

}  // namespace weft
