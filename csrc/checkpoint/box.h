#pragma once
// Where this rank's part of a tensor lies in the full one: runs of elements that are consecutive in both.
#include <ATen/core/Tensor.h>
#include <c10/util/FunctionRef.h>
#include <weft/layout.h>

#include <cstdint>
#include <vector>

#include "layout/shard.h"

namespace weft::checkpoint {

/// The part that the rank at `coordinates` holds of a tensor, both row-major.
class Box {
 public:
  /// All of it.
  explicit Box(c10::IntArrayRef sizes);
  /// `layout` has nothing pending.
  Box(c10::IntArrayRef sizes, Layout layout, c10::IntArrayRef coordinates);

  int64_t numel() const { return numel_; }
  /// How many of the part's elements lie before that one of the full tensor.
  int64_t before(int64_t full) const;
  /// Elements of the longest run; 0 where there is none.
  int64_t longest_run() const;

  struct Run {
    int64_t full;  // first element, in the full tensor
    int64_t part;  // and in the part
    int64_t length;
  };
  /// The runs of the part's elements [first, first + count), rising in both.
  void runs(int64_t first, int64_t count, c10::function_ref<void(const Run&)> each) const;

 private:
  void measure();

  std::vector<int64_t> sizes_;  // of the full tensor
  std::vector<std::vector<IndexRange>> dims_;
  // A run lies within the innermost dimension of which the part lacks some, `split_`, and all dimensions after it.
  size_t split_ = 0;
  int64_t inner_ = 1;      // elements of the dimensions after it
  int64_t per_outer_ = 1;  // elements of the part for each index of those before it
  std::vector<std::vector<int64_t>>
      offsets_;  // of those before it: where each of the part's indices lies in the full tensor
  int64_t numel_ = 1;
};

/// A row-major range of a tensor's elements.
struct Block {
  at::Tensor elements;  // a view of them
  int64_t first;
};
/// The tensor cut into blocks of at most that many bytes, one element at least.
void blocks(const at::Tensor& tensor, int64_t bytes, c10::function_ref<void(const Block&)> each);

/// Which of the ranks that hold the same part writes which elements of it: evenly, in pieces that are worth it.
struct Share {
  int64_t first = 0, count = 0;
};
/// @param turn where the first piece goes, so that small tensors do not all fall to one rank
Share share_of(int64_t numel, int64_t element_bytes, int64_t replica, int64_t replicas, int64_t turn);

/// Which of the ranks that hold the same parts of a tensor in that layout this one is, and how many they are.
struct Replica {
  int64_t index = 0, count = 1;
};
Replica replica_of(Layout layout, c10::IntArrayRef coordinates);

}  // namespace weft::checkpoint
