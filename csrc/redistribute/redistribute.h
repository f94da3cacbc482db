#pragma once
// From one layout to another: the cheapest sequence of steps, and running it on the local shard.
#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <weft/layout.h>

namespace weft {

struct Cell;

/// The local shard of a tensor of `global_sizes` in layout `to`, from its shard in layout `from`, on this rank. All
/// ranks of the mesh call it alike: a collective over each axis that needs one. `local` is never changed. The result
/// may be `local` itself where nothing moves, and a view of it where only its outermost dimension is sliced: who wants
/// memory of its own clones. It is dense in memory, with its dimensions in the order of `global_strides`; without these
/// in that of `local`'s strides, at the price of copies where it is not the standard order (the strides of one shard
/// may not tell the order, and the ranks must agree on what they send). `to` may have pending reductions. A replicated
/// value becomes pending by coordinate 0 of the axis keeping it and the others holding the reduction's identity (sum,
/// norm2: 0, product: 1), or by all keeping it (avg, max, min); another kind of pending becomes one through the value.
/// Reductions of kinds that do not commute are taken from the last mesh axis to the first: an operation that adds one
/// of another kind must do so over an earlier axis. Raises ValueError where the layouts are on two meshes, their ranks
/// differ, or a blocked split does not fit.
at::Tensor redistribute_local(const at::Tensor& local, c10::IntArrayRef global_sizes, Layout from, Layout to,
                              c10::IntArrayRef global_strides = {});

/// `local`, or a copy of it where it shares memory with `source`, is lazily conjugated or negated, or is traced.
at::Tensor owned(at::Tensor local, const at::Tensor& source);

/// Brings the root of a cell to layout `to` for all its aliases and views: the same value, in memory of its own.
void redistribute_content(Cell& cell, Layout to);

}  // namespace weft
