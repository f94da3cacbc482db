#pragma once
// What the files of sparse tensors ask of one: whether it has a layout, and what this rank holds of it.
#include "redistribute/sparse.h"
#include "tensor/sharded.h"

namespace weft {

/// A sparse tensor with a layout.
inline bool has_pattern(const at::Tensor& t) { return t.defined() && t.is_sparse() && holds_shards(t); }
inline bool is_coo(const at::Tensor& t) { return t.defined() && t.layout() == at::kSparse; }
inline bool is_dense_sharded(const at::Tensor& t) { return holds_shards(t) && !t.is_sparse(); }
/// This rank's entries: [entries, dense dimensions].
inline at::Tensor local_values(const at::Tensor& sparse) { return sharded(sparse).local()._values(); }
/// The same tensor with one entry for each place; itself where that is so already.
at::Tensor coalesced(const at::Tensor& sparse);

}  // namespace weft
