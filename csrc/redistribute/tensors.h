#pragma once
// Between plain and sharded tensors, differentiably. The public names are in <weft/tensor.h>.
#include <ATen/core/Tensor.h>
#include <weft/tensor.h>

#include <string>
#include <vector>

namespace weft {

/// What the ranks compare of a tensor before that function (distribute_tensor, distribute_variable, tag, from_local)
/// lays it out, as the error of a difference names it.
std::string compared_by(const std::string& function);

/// Raises ValueError where the layout is not for the tensor: none, another rank, or what `compared_by` names differs
/// between ranks. That of a sharded tensor is compared only when it is first sent from its layout to that one.
void check_layout(const at::Tensor& tensor, Layout layout, const char* what);
/// Which redistributions over simulated meshes were compared is not remembered any more: another program over one
/// begins as a real one.
void forget_simulated_moves();

/// full_tensor that may share the memory of a replicated tensor: nobody may write to it.
at::Tensor full_or_alias(const at::Tensor& tensor);

/// distribute_tensor without its check between ranks.
at::Tensor redistribute_tensor(const at::Tensor& tensor, Layout layout);
/// The same of an operand of that name of an op; a plain one's values are compared between ranks later, as any op's
/// are.
at::Tensor lay_out_operand(const at::Tensor& tensor, Layout layout, const char* op, const char* operand);
/// redistribute_tensor without autograd.
at::Tensor lay_out(const at::Tensor& tensor, Layout layout);
/// Tensors that every rank has, each in its layout; nothing moves. That their shapes and dtypes are the same is a check
/// that is not waited for (check_same_soon). Plain tensors only, at least one, all layouts on one mesh; no autograd.
std::vector<at::Tensor> distribute_batch(const std::vector<at::Tensor>& tensors, const std::vector<Layout>& layouts);
/// Uninitialized memory for each rank's part; the full tensor exists nowhere.
at::Tensor empty_sharded(at::IntArrayRef sizes, Layout layout, const at::TensorOptions& options);

}  // namespace weft
