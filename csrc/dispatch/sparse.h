#pragma once
// Ops on sparse COO tensors with a layout (redistribute/sparse.h), and on sparse tensors beside sharded ones.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <torch/library.h>

#include <string>

namespace weft {

/// Whether `run_sparse` is to be registered for the op, over what core makes it of.
bool has_sparse_kernel(const c10::OperatorHandle& op);

class BoxedCall;
/// A kernel for calls whose first tensor is sparse or, for sums and masks, goes together with one. Which op has which:
/// dispatch/how.cpp.
using SparseKernel = void (*)(BoxedCall&);
void run_sparse_sum(BoxedCall& call);
void run_sparse_mask(BoxedCall& call);
void run_sparse_make(BoxedCall& call);
void run_sparse_zero(BoxedCall& call);
void run_sparse_copy(BoxedCall& call);
void run_sparse_reduction(BoxedCall& call);
void run_sparse_dim(BoxedCall& call);
void run_dense_dim(BoxedCall& call);
void run_count(BoxedCall& call);
void run_is_coalesced(BoxedCall& call);
void run_set_coalesced(BoxedCall& call);
void run_indices(BoxedCall& call);
void run_values(BoxedCall& call);
void run_coalesce(BoxedCall& call);
void run_to_dense(BoxedCall& call);
void run_sparse_alias(BoxedCall& call);
void run_sparse_identity(BoxedCall& call);

/// Runs calls with sparse tensors that have a layout, or have none and go together with sharded ones. What takes each
/// value by itself runs on the shards; sums, masks, norms and copies have kernels of their own. All else that core has
/// for sparse tensors runs on the full ones, on every rank, where it writes nothing and no dense one is sharded; it
/// raises NotImplementedError otherwise.
void run_sparse(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);

/// Runs calls with entries (kEntriesKey). What takes each by itself runs on those that the rank has, if all tensors
/// that it takes are the same sparse tensor's or single values; all else on gathered ones. Raises NotImplementedError
/// where it would write to these.
void run_entries(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);

}  // namespace weft
