#pragma once
// A shard as dense boxes of the full tensor: where each element lies in the tensor (its global index) and in memory.
#include <array>

#include "base/in_parallel.h"
#include "random/dense_box.h"
#include "random/random.h"

namespace weft::random {

/// The boxes of a shard, none if it is empty. The first of `operands` is the shard itself, all have its sizes.
std::vector<Box> boxes(const GlobalIndex& index, c10::ArrayRef<at::Tensor> operands);

/// Calls run(index, offsets, n) for runs of n elements with consecutive global indices, in parallel over the box.
/// Within a run, operand k's elements are stride[k][dims - 1] apart.
template <class Run>
void for_runs(const Box& box, const Run& run) {
  constexpr int64_t kGrain = 16384;
  const int inner = box.dims - 1;
  in_parallel(box.numel, kGrain, [&](int64_t begin, int64_t end) {
    int64_t at[Box::kMaxDims], index = box.index, rest = begin;
    std::array<int64_t, Box::kMaxOperands> offset = {box.offset[0], box.offset[1], box.offset[2]};
    const auto move = [&](int d, int64_t steps) {
      index += steps * box.index_stride[d];
      for (int k = 0; k < Box::kMaxOperands; ++k) offset[k] += steps * box.stride[k][d];
    };
    for (int d = inner; d >= 0; --d) {
      at[d] = rest % box.size[d];
      rest /= box.size[d];
      move(d, at[d]);
    }
    while (begin < end) {
      const int64_t n = std::min(box.size[inner] - at[inner], end - begin);
      run(static_cast<uint64_t>(index), offset, n);
      begin += n;
      if (begin == end) return;
      move(inner, -at[inner]);  // to the start of the next row
      at[inner] = 0;
      for (int d = inner - 1; d >= 0; --d) {
        move(d, 1);
        if (++at[d] < box.size[d]) break;
        move(d, -at[d]);
        at[d] = 0;
      }
    }
  });
}

}  // namespace weft::random
