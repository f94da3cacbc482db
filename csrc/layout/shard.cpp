#include "layout/shard.h"

#include <c10/util/Exception.h>

#include <numeric>

namespace weft {

int64_t local_size(Layout layout, int64_t d, int64_t size, c10::IntArrayRef coordinates) {
  for (const Split& split : layout->dim(d)) {
    const int64_t parts = layout->mesh()->axis_size(split.axis);
    const int64_t index = coordinates[split.axis];
    if (split.block == 0 || size == 0) {
      size = chunk_length(size, parts, index);
    } else {
      TORCH_INTERNAL_ASSERT(size % split.block == 0, "a split of blocks of ", split.block, " on a length of ", size);
      size = size / split.block * chunk_length(split.block, parts, index);
    }
  }
  return size;
}

Sizes local_sizes(Layout layout, c10::IntArrayRef global_sizes, c10::IntArrayRef coordinates) {
  Sizes out(global_sizes.begin(), global_sizes.end());
  for (size_t d = 0; d < out.size(); ++d) {
    if (!layout->dim(d).empty()) out[d] = local_size(layout, static_cast<int64_t>(d), out[d], coordinates);
  }
  return out;
}

namespace {

// Elements [start, start + length) of the sequence that `ranges` make up, appended to `out`.
void take(const std::vector<IndexRange>& ranges, int64_t start, int64_t length, std::vector<IndexRange>& out) {
  for (const IndexRange& range : ranges) {
    if (length == 0) return;
    if (start >= range.length) {
      start -= range.length;
      continue;
    }
    const int64_t n = std::min(length, range.length - start);
    const int64_t first = range.start + start;
    if (!out.empty() && out.back().start + out.back().length == first) {
      out.back().length += n;
    } else {
      out.push_back({first, n});
    }
    start = 0;
    length -= n;
  }
}

}  // namespace

std::vector<IndexRange> local_indices(Layout layout, int64_t d, int64_t size, c10::IntArrayRef coordinates) {
  std::vector<IndexRange> ranges;
  if (size > 0) ranges.push_back({0, size});
  for (const Split& split : layout->dim(d)) {
    const int64_t parts = layout->mesh()->axis_size(split.axis);
    const int64_t index = coordinates[split.axis];
    const int64_t block = split.block == 0 ? size : split.block;
    std::vector<IndexRange> kept;
    int64_t left = 0;
    if (block > 0) {
      const int64_t start = chunk_start(block, parts, index), length = chunk_length(block, parts, index);
      for (int64_t b = 0; b < size / block; ++b) take(ranges, b * block + start, length, kept);
      left = size / block * length;
    }
    ranges = std::move(kept);
    size = left;
  }
  return ranges;
}

Sizes memory_order(c10::IntArrayRef strides) {
  Sizes order(strides.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return strides[a] > strides[b]; });
  return order;
}

Sizes row_major_strides(c10::IntArrayRef sizes) {
  Sizes strides(sizes.size());
  int64_t next = 1;
  for (size_t i = sizes.size(); i-- > 0;) {
    strides[i] = next;
    next *= std::max<int64_t>(sizes[i], 1);
  }
  return strides;
}

Sizes dense_strides(c10::IntArrayRef sizes, c10::IntArrayRef like) {
  const Sizes order = memory_order(like);
  Sizes strides(sizes.size());
  int64_t next = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = next;
    next *= std::max<int64_t>(sizes[order[i]], 1);
  }
  return strides;
}

bool is_even(Layout layout, int64_t d, int64_t size) {
  for (const Split& split : layout->dim(d)) {
    const int64_t parts = layout->mesh()->axis_size(split.axis);
    if ((split.block == 0 ? size : split.block) % parts != 0) return false;
    size /= parts;
  }
  return true;
}

}  // namespace weft
