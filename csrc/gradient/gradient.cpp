#include "gradient/gradient.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/functions/basic_ops.h>

#include "gradient/gradient_buckets.h"
#include "redistribute/redistribute.h"
#include "redistribute/sparse.h"
#include "redistribute/tensors.h"
#include "tensor/below_autograd.h"

namespace weft {
namespace {

using torch::autograd::AccumulateGrad;
using torch::autograd::variable_list;

// What is done to a gradient leaves its value.
RunningOp running_for(const at::Tensor& grad, const at::Tensor& variable) {
  const ShardedTensorImpl* of = sharded_impl(grad);
  const ShardedTensorImpl* tagged = sharded_impl(variable);
  return RunningOp("gradient", of != nullptr ? of->identity() : 0,
                   tagged != nullptr ? tagged->interned_path() : nullptr,
                   /*keeps_value=*/true);
}

// Whether others than the engine and our hook hold the gradient, as a program's hook may: AccumulateGrad copies it
// then.
bool is_held(const at::Tensor& grad) {
  constexpr uint32_t kOurs = 2;
  return grad.use_count() > kOurs;
}

class LeafGradient final : public torch::autograd::FunctionPreHook {
 public:
  explicit LeafGradient(AccumulateGrad* node) : node_(node) {}

  variable_list operator()(const variable_list& grads) override {
    variable_list out = grads;
    const at::Tensor& leaf = node_->variable;
    at::Tensor& grad = out[0];
    if (!grad.defined() || !leaf.defined()) return out;
    const RunningOp running = running_for(grad, leaf);
    if (!holds_shards(leaf)) {
      if (holds_shards(grad)) grad = full_or_alias(grad);
      return out;
    }
    const Layout target = sharded(leaf).layout()->without_partial();
    if (holds_shards(grad) && sharded(grad).layout() == target) return out;
    if (grad.layout() == at::kSparse) {
      grad = lay_out_sparse(grad, target);
      return out;
    }
    const at::Tensor reduced = reduce_in_bucket(grad, target, leaf, is_held(grad));
    grad = reduced.defined() ? reduced : distribute_tensor(grad, target);
    return out;
  }

 private:
  AccumulateGrad* node_;  // owns this hook
};

// Autograd's engine adds the next gradient to one that nobody else holds in place, else out of place: with a sharded
// one after it these are two ops. On one rank alone a thread of the backend may hold what it gave for a moment longer.
at::Tensor held_alone(at::Tensor plain) {
  if (!plain.has_storage() || is_traced(plain)) return plain;
  return plain.use_count() == 1 && plain.storage().use_count() == 1 ? plain : plain.clone();
}

// Brings the gradient of one result of a node to a layout, or makes it plain where there is none.
class ResultGradient final : public torch::autograd::FunctionPreHook {
 public:
  ResultGradient(uint32_t output, Layout target) : output_(output), target_(target) {}

  variable_list operator()(const variable_list& grads) override {
    variable_list out = grads;
    if (output_ >= out.size() || !holds_shards(out[output_])) return out;
    at::Tensor& grad = out[output_];
    const RunningOp running = running_for(grad, grad);
    grad = target_ == nullptr ? held_alone(full_or_alias(grad)) : redistribute_tensor(grad, target_);
    return out;
  }
  uint32_t output() const { return output_; }

 private:
  uint32_t output_;  // of the node
  Layout target_;
};

}  // namespace

void hook_result(const at::Tensor& t) {
  const auto* meta = static_cast<torch::autograd::AutogradMeta*>(t.unsafeGetTensorImpl()->autograd_meta());
  torch::autograd::Node& node = *meta->grad_fn_;
  const ShardedTensorImpl* impl = sharded_impl(t);
  // What a compiled program is given has a node that stands for whatever made it.
  if (impl != nullptr && dynamic_cast<torch::autograd::Error*>(&node) == nullptr) return;
  for (const auto& hook : node.tensor_pre_hooks()) {
    const auto* ours = dynamic_cast<ResultGradient*>(hook.get());
    if (ours != nullptr && ours->output() == meta->output_nr_) return;
  }
  const Layout target = impl != nullptr ? impl->layout()->without_partial() : nullptr;
  node.add_tensor_pre_hook(std::make_unique<ResultGradient>(meta->output_nr_, target));
}

void hook_leaf(const at::Tensor& leaf) {
  // It exists once autograd has recorded an op on the leaf, and dies with the graph.
  const auto node = torch::autograd::impl::try_get_grad_accumulator(leaf);
  if (!node) return;
  for (const auto& hook : node->pre_hooks()) {
    if (dynamic_cast<LeafGradient*>(hook.get()) != nullptr) return;
  }
  auto* accumulate = dynamic_cast<AccumulateGrad*>(node.get());
  if (accumulate != nullptr) node->add_pre_hook(std::make_unique<LeafGradient>(accumulate));
}

}  // namespace weft
