// Losses that are means over all shards.
#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include "composites/arguments.h"
#include "composites/composites.h"
#include "redistribute/redistribute.h"
#include "tensor/sharded.h"

namespace weft::rules {

using Op = const c10::OperatorHandle&;

namespace {

// Position of the argument `reduction`: none 0, mean 1, sum 2.
size_t reduction_argument(Op op) {
  const auto& arguments = op.schema().arguments();
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].name() == "reduction") return i;
  }
  TORCH_INTERNAL_ASSERT(false, op.operator_name(), " has no reduction");
}
constexpr int64_t kSum = 2;

}  // namespace

void run_mean_loss(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const auto sizes = at::infer_size(a.tensor(0).sizes(), a.tensor(1).sizes());
  double count = 1;
  for (int64_t s : sizes) count *= static_cast<double>(s);
  stack[stack.size() - op.schema().arguments().size() + reduction_argument(op)] = kSum;
  op.callBoxed(&stack);
  stack.back() = stack.back().toTensor().div(count);
}

void run_mean_loss_backward(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const auto sizes = at::infer_size(a.tensor(1).sizes(), a.tensor(2).sizes());
  double count = 1;
  for (int64_t s : sizes) count *= static_cast<double>(s);
  const size_t base = stack.size() - op.schema().arguments().size();
  stack[base] = a.tensor(0).div(count);
  stack[base + reduction_argument(op)] = kSum;
  op.callBoxed(&stack);
}

namespace {

// Both scalars are reduced in one over the axes over which the total is pending; the sum may stay pending over others,
// where classes are split, say.
void reduce_together(at::Tensor& sum, at::Tensor& total) {
  if (!holds_shards(sum) || !holds_shards(total) || sum.scalar_type() != total.scalar_type()) return;
  const Layout from = sharded(total).layout();
  const Mesh mesh = from->mesh();
  TensorLayout::Partial left = sharded(sum).layout()->partial();
  for (int a = 0; a < mesh->ndim(); ++a) {
    if (from->partial()[a] == Reduction::none) continue;
    if (left[a] != from->partial()[a]) return;
    left[a] = Reduction::none;
  }
  if (!from->has_partial()) return;
  const at::Tensor both =
      redistribute_local(at::stack({sharded(sum).local(), sharded(total).local()}), {2},
                         TensorLayout::get(mesh, {{}}, from->partial()), TensorLayout::replicated(mesh, 1));
  sum = make_sharded(both[0].clone(), TensorLayout::get(mesh, {}, left), Geometry{});
  total = make_sharded(both[1].clone(), TensorLayout::replicated(mesh, 0), Geometry{});
}

}  // namespace

void run_nll_loss(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor target = a.tensor(1);
  const bool weighted = a.tensor(2).defined();
  const int64_t ignored = a[4].toInt();
  const at::ScalarType dtype = a.tensor(0).scalar_type(), wide = accumulation_type(dtype);
  stack[stack.size() - op.schema().arguments().size() + reduction_argument(op)] = kSum;
  op.callBoxed(&stack);
  const size_t base = stack.size() - 2;
  at::Tensor sum = stack[base].toTensor().to(wide), total = stack[base + 1].toTensor().to(wide);
  // Who has a part of the classes has all targets.
  if (!weighted) total = target.ne(ignored).sum(wide);
  reduce_together(sum, total);
  stack[base] = sum.div(total).to(dtype);
  stack[base + 1] = total.to(dtype);
}

}  // namespace weft::rules
