#pragma once
// Sparse COO tensors on sharded ones. Such a tensor has a layout as any other. All ranks know where its entries lie
// (`SparsePattern::indices`); of the values each rank holds those of its rows and columns: its shard is a plain sparse
// tensor, of the sizes and with the indices of the shard. So many entries are in one rank's rows and so many in
// another's: `entries` of a tensor whose rows are split has another number of rows on each rank than torch.chunk would
// give, which kEntriesKey keeps from all ops but those that take each entry by itself (dispatch/sparse_entries.cpp).
#include <c10/core/TensorImpl.h>

#include <memory>

#include "tensor/sharded.h"

namespace weft {

/// Where the entries lie; never changed.
struct SparsePattern {
  at::Tensor indices;  // [sparse dimensions, entries], of the full tensor, plain, the same on all ranks
  at::Tensor here;     // which of them this rank holds, in this order; undefined: all
  Layout layout;       // of the sparse tensor; nothing is pending
  Sizes sizes;         // of the full tensor
  bool coalesced;

  int64_t count() const { return indices.size(1); }
  int64_t sparse_dim() const { return indices.size(0); }
  /// The layout of the values: dimension 0 is split as the sparse dimensions are.
  Layout entries_layout() const;
  Sizes entries_sizes() const;
};
using Pattern = std::shared_ptr<const SparsePattern>;

/// Plain indices of the full tensor.
Pattern make_pattern(const at::Tensor& indices, Layout layout, at::IntArrayRef sizes, bool coalesced);
/// Whether the entries are the same, in one order, on the same ranks.
bool same_entries(const Pattern& a, const Pattern& b);
/// The pattern of a sparse tensor with a layout, or of its entries; null: it is neither.
Pattern pattern_of(const at::Tensor& tensor);
/// The sparse tensor, for all its aliases, gets other entries: `values` are this rank's.
void set_entries(const at::Tensor& sparse, Pattern pattern, const at::Tensor& values);

/// The sparse tensor with this rank's values.
at::Tensor make_sparse(Pattern pattern, const at::Tensor& values);
/// A tensor [entries, …] with a layout that shares the memory of the shard's values.
at::Tensor entries_of(const at::Tensor& sparse);
/// Marks a tensor with that many rows on this rank as entries.
at::Tensor mark_entries(const at::Tensor& values, Pattern pattern);
/// Whether it has as many rows on each rank as there are entries.
bool has_own_rows(const at::Tensor& tensor);
/// The same values as a tensor like any other, dimension 0 not split: a collective where the rows are split.
at::Tensor gather_entries(const at::Tensor& entries);
/// What sums and norms run on: the same values and zeros, in any order, as a tensor like any other; nothing moves.
at::Tensor padded_entries(const at::Tensor& entries);

/// The same as lay_out and full_tensor do. `sparse` may be plain where it is laid out.
at::Tensor lay_out_sparse(const at::Tensor& sparse, Layout layout);
at::Tensor full_sparse(const at::Tensor& sparse);

}  // namespace weft
