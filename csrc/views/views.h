#pragma once
// Views of sharded tensors: chains to the root, writes through views whose data had to be moved.
#include <optional>
#include <vector>

#include "rules/op_info.h"
#include "tensor/sharded.h"

namespace weft {

/// The result of a view op: shares `base`'s cell. `ran_on` is the local tensor the op ran on: where that is not base's
/// shard the result is a copy (moved). `arguments` are the op's value arguments in schema order.
at::Tensor wrap_view(const OpInfo& op, c10::ArrayRef<c10::IValue> arguments, const at::Tensor& base,
                     const at::Tensor& ran_on, at::Tensor local, Layout layout, const Geometry& geometry, int element);

/// Writes `value` (the new whole value, this rank's part of it in layout `from`) into `tensor`, in tensor's own layout,
/// through its chain to the root where tensor is a moved view. Raises NotImplementedError, the same on all ranks,
/// where the write cannot be carried to the root: of elements that are one in the root it writes any, if they are
/// `alike`.
void write_into(const at::Tensor& tensor, const at::Tensor& value, Layout from, bool alike = false);

/// Carries out pending reductions of the tensor once, for all that share its cell; false where it is only a part of
/// its root (then each reader reduces what it needs).
bool reduce_for_all_aliases(ShardedTensorImpl& impl, Layout to);

/// at::as_strided on the root's geometry, as autograd sends it: decoded into a permutation, slices, selections,
/// windows. Where the numbers mix dimensions the full tensor is gathered. `op` is aten::as_strided itself.
at::Tensor as_strided(const OpInfo& op, const at::Tensor& self, c10::IntArrayRef sizes, c10::IntArrayRef strides,
                      int64_t offset);

/// The same as views that autograd knows, in whose backward what is split stays so; undefined where the numbers mix
/// dimensions. Windows along a dimension (the frames of a spectrogram, chunks that overlap) are Tensor.unfold.
at::Tensor as_differentiable_views(const at::Tensor& self, c10::IntArrayRef sizes, c10::IntArrayRef strides,
                                   int64_t offset);

/// A view with the same elements, sharing everything (detach, alias).
at::Tensor share(const at::Tensor& self);

/// View ops, the first one first.
using ViewSteps = std::vector<c10::intrusive_ptr<ViewStep>>;

/// What leads from `base` to `view`, both sharded; nullopt: it is no view of it.
std::optional<ViewSteps> steps_between(const at::Tensor& base, const at::Tensor& view);

/// Whether a write to the one view would have to be carried to the other one, of the same root: either is a copy, and
/// they are not two results of one op.
bool are_tied(const at::Tensor& a, const at::Tensor& b);

/// What a sharded tensor is a view of, as a tensor of its own; itself, detached, where it is none.
at::Tensor root_of(const at::Tensor& view);

/// The same view of another tensor, as a program makes it: autograd sees each op. `base` itself where there is none.
at::Tensor view_again(const at::Tensor& base, const ViewSteps& steps);

}  // namespace weft
