#pragma once
// A gather of a variable's shard that ops ask for again and again: all that is needed to do it before they ask.
#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>
#include <weft/layout.h>

#include <optional>
#include <string>
#include <vector>

#include "comm/wire/coalesced_gather.h"
#include "redistribute/steps.h"
#include "tensor/sharded.h"

namespace weft {

/// What an op asks for.
struct Wanted {
  const ShardedTensorImpl& operand;
  c10::IntArrayRef sizes, strides;  // global
  Layout from, to;
  uint8_t mode;  // of the thread: which of these
  static constexpr uint8_t kBackward = 1, kGradMode = 2, kInference = 4;
};

class GatherRequest {
 public:
  /// None where it is more than one all-gather, or not of a variable's own memory.
  static std::optional<GatherRequest> of(const Wanted& wanted);
  static uint64_t hash(const Wanted& wanted);
  bool is(const Wanted& wanted) const;

  Mesh mesh() const { return from_->mesh(); }
  int axis() const { return axis_; }
  c10::Device device() const { return options_.device(); }
  /// Whether one collective can gather both.
  bool goes_with(const GatherRequest& r) const {
    return mesh() == r.mesh() && axis() == r.axis() && device() == r.device();
  }
  int64_t bytes() const { return bytes_; }  // of the largest rank's result
  const std::string* path() const { return path_; }
  /// Whether a forward pass asks whose backward follows, or an op of backward itself. A forward pass that runs again
  /// within backward, as checkpoints make it, is neither.
  bool is_forward() const { return (mode_ & (Wanted::kBackward | Wanted::kGradMode)) == Wanted::kGradMode; }
  bool is_backward() const { return (mode_ & (Wanted::kBackward | Wanted::kGradMode)) == Wanted::kBackward; }
  /// The identity of the value that was last asked for.
  Identity identity() const { return identity_; }
  void asked_again(const Wanted& wanted);

  /// What the variable's content was when its gather began.
  struct Moment {
    bool is_known = false;
    uint64_t generation = 0, writes = 0;
    uint32_t version = 0;  // of this rank's shard
  };
  /// The shard as it is now. A rank where the variable is no more, or is another, takes part all the same, with any
  /// values: when memory is freed may differ between ranks.
  at::Tensor shard(Moment& moment) const;
  comm::Divided to_gather(at::Tensor shard) const { return {std::move(shard), dim_, lengths_}; }
  /// Whether the variable has not been written since. Raises RuntimeError where this rank's shard was, past Weft.
  bool is_current(const ShardedTensorImpl& operand, const Moment& moment) const;
  /// Whether both send the same and get the same back, as a weight's uses in forward and backward do: told by what all
  /// ranks have in common.
  bool same_gather(const GatherRequest& other) const;
  /// What the op gets, of what was gathered.
  at::Tensor result(const at::Tensor& gathered) const;

 private:
  GatherRequest() = default;

  c10::weak_intrusive_ptr<Cell> cell_{c10::intrusive_ptr<Cell>()};
  const Cell* address_ = nullptr;  // its memory is not used again as long as cell_ remembers it
  const std::string* path_ = nullptr;
  Identity identity_ = 0;
  Layout from_ = nullptr, to_ = nullptr;
  Sizes sizes_, strides_;
  int64_t offset_ = 0;
  Sizes memory_sizes_, memory_strides_;  // global, in the order of memory
  Layout memory_layout_ = nullptr;
  uint8_t mode_ = 0;
  uint64_t generation_ = 0;  // of the variable's content, in which this is what is sent:
  Sizes sent_sizes_, sent_strides_;
  int64_t sent_offset_ = 0;
  at::TensorOptions options_;
  int axis_ = 0;
  int64_t dim_ = 0;
  std::vector<int64_t> lengths_;
  Sizes result_sizes_, position_;
  int64_t bytes_ = 0;
};

}  // namespace weft
