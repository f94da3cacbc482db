#pragma once
// Ops that run on sharded tensors past rules and plans: those about identity and memory, in-place views, out= variants.
// Which op runs so is said in dispatch/how.cpp.
#include <vector>

#include "rules/op_info.h"

namespace weft {

using Special = void (*)(const OpInfo& op, std::vector<c10::IValue>& stack);

/// detach, alias: another tensor that shares everything.
void run_alias(const OpInfo& op, std::vector<c10::IValue>& stack);
/// detach_: the tensor itself.
void run_identity(const OpInfo& op, std::vector<c10::IValue>& stack);
/// as_strided on global geometry (views/views.h).
void run_as_strided(const OpInfo& op, std::vector<c10::IValue>& stack);
/// t_, transpose_, unsqueeze_, ...: the view op, whose result self becomes.
void run_in_place_view(const OpInfo& op, std::vector<c10::IValue>& stack);
/// Its strides are the global tensor's; the shard's are for view to find.
void run_reshape_alias(const OpInfo& op, std::vector<c10::IValue>& stack);
/// add_ of a gradient to one that is still on its way: not waited for.
void run_add(const OpInfo& op, std::vector<c10::IValue>& stack);
/// An add_ by which autograd's engine adds up gradients is what `add` would be, as other ranks may have that
/// (ShardedTensorImpl::takes_sum): `sum` becomes its result.
void become_sum(const at::Tensor& sum, const at::Tensor& gradient, const at::Scalar& alpha);
/// copy_ of a small value that is still pending: not waited for.
void run_copy(const OpInfo& op, std::vector<c10::IValue>& stack);
/// The decomposition that stands for the op.
void run_decomposition(const OpInfo& op, std::vector<c10::IValue>& stack);
/// out= variants: the functional overload, copied into what was given.
void run_out(const OpInfo& op, std::vector<c10::IValue>& stack);
/// A sparse gradient: made of other ops.
void run_embedding_bag_backward(const OpInfo& op, std::vector<c10::IValue>& stack);
/// is_set_to: whether both are one value seen alike.
void run_is_set_to(const OpInfo& op, std::vector<c10::IValue>& stack);
/// _has_same_storage_numel: of the full tensors that they are, or are views of.
void run_has_same_storage_numel(const OpInfo& op, std::vector<c10::IValue>& stack);
/// is_same_size: nothing of the values is asked for.
void run_is_same_size(const OpInfo& op, std::vector<c10::IValue>& stack);
/// `self.data = source` as compilers record it: a write where it can be one.
void run_copy_data(const OpInfo& op, std::vector<c10::IValue>& stack);
/// set_(source), as `self.data = source`: a sharded self shares a sharded source, and lays out a plain one.
void run_set(const OpInfo& op, std::vector<c10::IValue>& stack);
/// resize_ to the size that it has; another one is refused.
void run_resize(const OpInfo& op, std::vector<c10::IValue>& stack);
/// Raises NotImplementedError: what sets, resizes or shares memory.
void refuse_memory(const OpInfo& op, std::vector<c10::IValue>& stack);
/// Runs on the shard alone what concerns memory and streams, not values.
void run_on_local(const OpInfo& op, std::vector<c10::IValue>& stack);

}  // namespace weft
