#pragma once
// Shards one after the other in flat memory, for one collective of them all.
#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

namespace weft {

class FlatShards {
 public:
  /// `expected`: how many elements will come in all, as far as is known; 0: unknown.
  FlatShards(at::TensorOptions options, int64_t expected) : options_(options), expected_(expected) {}
  /// Puts tensors, each row-major and by one copy, behind those that are there.
  void append(c10::ArrayRef<at::Tensor> tensors);
  int64_t numel() const { return filled_; }
  /// What is there: one dimension.
  at::Tensor content() const { return memory_.narrow(0, 0, filled_); }
  /// Takes this as what is there.
  void assign(at::Tensor content);
  /// Gives the memory up; views of it keep it.
  void clear() { assign({}); }

 private:
  void make_room(int64_t elements);

  const at::TensorOptions options_;
  const int64_t expected_;
  at::Tensor memory_;
  int64_t filled_ = 0;  // elements
};

}  // namespace weft
