#pragma once
// Which part of a tensor a rank holds: sizes and global index ranges of shards. torch.chunk's rule throughout.
#include <c10/util/ArrayRef.h>
#include <c10/util/SmallVector.h>
#include <weft/layout.h>

#include <algorithm>
#include <vector>

namespace weft {

using Coordinates = c10::SmallVector<int64_t, 4>;  // of one rank, per mesh axis
using Sizes = c10::SmallVector<int64_t, 6>;

/// Length of chunk `index` when `size` elements are cut into `parts` by torch.chunk's rule (ceil(size / parts) each,
/// the last ones shorter or empty).
inline int64_t chunk_length(int64_t size, int64_t parts, int64_t index) {
  const int64_t full = (size + parts - 1) / parts;
  const int64_t start = std::min(full * index, size);
  return std::min(full, size - start);
}
/// First element of that chunk.
inline int64_t chunk_start(int64_t size, int64_t parts, int64_t index) {
  return std::min((size + parts - 1) / parts * index, size);
}

/// Length of dimension `d` (global length `size`) on the rank at `coordinates`.
int64_t local_size(Layout layout, int64_t d, int64_t size, c10::IntArrayRef coordinates);
/// All dimensions.
Sizes local_sizes(Layout layout, c10::IntArrayRef global_sizes, c10::IntArrayRef coordinates);

/// Dimensions from the outermost in memory to the innermost, as torch's preserve_format sees it: by falling stride.
Sizes memory_order(c10::IntArrayRef strides);
/// Row-major strides.
Sizes row_major_strides(c10::IntArrayRef sizes);
/// Strides of a dense tensor of `sizes` whose dimensions lie in memory in the order of the strides `like`.
Sizes dense_strides(c10::IntArrayRef sizes, c10::IntArrayRef like);

/// Whether they are the strides of a dense row-major tensor; those of dimensions of length 1 may be any.
inline bool row_major(c10::IntArrayRef sizes, c10::IntArrayRef strides) {
  int64_t next = 1;
  for (size_t d = sizes.size(); d-- > 0;) {
    if (sizes[d] != 1 && strides[d] != next) return false;
    next *= sizes[d];
  }
  return true;
}

/// A run of consecutive global indices.
struct IndexRange {
  int64_t start;
  int64_t length;
};
/// The global indices of dimension `d` that the rank holds, in the order in which its shard stores them.
std::vector<IndexRange> local_indices(Layout layout, int64_t d, int64_t size, c10::IntArrayRef coordinates);

/// Whether every rank along the axes of dimension `d` holds the same number of elements of a dimension of that size.
bool is_even(Layout layout, int64_t d, int64_t size);

}  // namespace weft
