// Shards by themselves: taken out of a sharded tensor, and put together to one.
#include <ATen/Functions.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/installed.h"
#include "redistribute/parts.h"
#include "redistribute/tensors.h"
#include "redistribute/tensors_shared.h"
#include "tensor/op_history.h"
#include "tensor/sharded.h"
#include "tensor/traced.h"
#include "tensor/unreal.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor wrap_part(const at::Tensor& local, Layout layout, const std::vector<int64_t>& sizes,
                     const std::vector<int64_t>& strides);

// Shares the part's memory where its dimensions lie as the full tensor's do, and it holds the values themselves, else
// copies it.
at::Tensor of_part(at::Tensor part, Layout layout, c10::IntArrayRef sizes, c10::IntArrayRef strides) {
  const Sizes own = dense_strides(part.sizes(), strides);
  part = part.resolve_conj().resolve_neg();
  for (int64_t d = 0; d < part.dim() && part.numel() > 0; ++d) {
    if (part.size(d) == 1 || part.stride(d) == own[d]) continue;
    part = at::empty_strided(part.sizes(), own, part.options()).copy_(part);
  }
  at::Tensor out = make_sharded(std::move(part), layout, {Sizes(sizes), Sizes(strides)});
  sharded(out).cell().shown = true;
  return out;
}

struct Local : torch::autograd::Function<Local> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& tensor) {
    const ShardedTensorImpl& impl = sharded(tensor);
    ctx->saved_data["layout"] = as_word(impl.layout()->without_partial());
    ctx->saved_data["sizes"] = tensor.sizes();
    ctx->saved_data["strides"] = tensor.strides();
    impl.cell().shown = true;
    return impl.local().detach();
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    if (!grads[0].defined()) return {grads[0]};
    const RunningOp running("local_tensor", new_root("local_tensor"), nullptr);
    return {wrap_part(grads[0], as_layout(ctx->saved_data["layout"].toInt()), ctx->saved_data["sizes"].toIntVector(),
                      ctx->saved_data["strides"].toIntVector())};
  }
};

struct FromLocal : torch::autograd::Function<FromLocal> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& local, int64_t word, std::vector<int64_t> sizes,
                            std::vector<int64_t> order) {
    const auto layout = as_layout(word);
    ctx->saved_data["layout"] = as_word(layout->without_partial());
    return for_program(of_part(plain_on(layout->mesh(), local.detach()), layout, sizes, dense_strides(sizes, order)));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    at::Tensor grad = grads[0];
    if (grad.defined() && holds_shards(grad)) {
      grad = local_tensor(distribute_tensor(grad, as_layout(ctx->saved_data["layout"].toInt())));
    }
    return {grad, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// The full tensor's dimensions lie in memory in the order of `strides`, and so does the shard: a part that lies
// otherwise is copied.
at::Tensor wrap_part(const at::Tensor& local, Layout layout, const std::vector<int64_t>& sizes,
                     const std::vector<int64_t>& strides) {
  return FromLocal::apply(local, as_word(layout), sizes, strides);
}

}  // namespace

at::Tensor local_tensor(const at::Tensor& tensor) { return holds_shards(tensor) ? Local::apply(tensor) : tensor; }

at::Tensor from_local(const at::Tensor& local, Layout layout, std::optional<std::vector<int64_t>> shape) {
  require_installed();
  const RunningOp running("from_local", new_root("from_local"), nullptr);
  TORCH_CHECK_VALUE(layout != nullptr && local.defined(), "[W030] from_local: no layout or no part given");
  check_parts(local, layout, shape);
  check_rank(local, layout, "from_local");
  TORCH_CHECK_VALUE(!holds_shards(local),
                    "[W035] from_local: the part is itself a sharded tensor; use distribute_tensor");
  const GlobalShape global = put_together(local, layout, shape);
  disable_fuser();
  return wrap_part(local, layout, global.sizes, global.order);
}

}  // namespace weft
