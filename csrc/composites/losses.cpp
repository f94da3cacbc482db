// Losses that are means over all shards.
#include <ATen/ExpandUtils.h>
#include <ATen/Functions.h>

#include "composites/arguments.h"
#include "composites/composites.h"
#include "redistribute/redistribute.h"
#include "tensor/sharded.h"

namespace weft::rules {

using Op = const c10::OperatorHandle&;

namespace {

constexpr int64_t kNone = 0, kSum = 2;  // of the argument `reduction`

// Runs the op, which takes a mean, with another reduction.
void run_as(int64_t reduction, Op op, CompositeStack& stack) {
  const auto& arguments = op.schema().arguments();
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].name() == "reduction") stack[stack.size() - arguments.size() + i] = reduction;
  }
  op.callBoxed(&stack);
}

// Entries of the two tensors, broadcast.
double count_of(const at::Tensor& a, const at::Tensor& b) {
  double count = 1;
  for (int64_t size : at::infer_size(a.sizes(), b.sizes())) count *= static_cast<double>(size);
  return count;
}

}  // namespace

// Sums of many halves leave their range: they are taken in float, as core's means are.
void run_mean_loss(Op op, CompositeStack& stack) {
  run_as(kNone, op, stack);
  const at::Tensor each = stack.back().toTensor();
  const at::ScalarType dtype = each.scalar_type();
  stack.back() = at::sum(each, accumulation_type(dtype)).div_(static_cast<double>(each.numel())).to(dtype);
}

void run_mean_loss_backward(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const double count = count_of(a.tensor(1), a.tensor(2));
  stack[stack.size() - op.schema().arguments().size()] = a.tensor(0).div(count);
  run_as(kSum, op, stack);
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
  run_as(kSum, op, stack);
  const size_t base = stack.size() - 2;
  at::Tensor sum = stack[base].toTensor().to(wide);
  // Who has a part of the classes has all targets.
  at::Tensor total = weighted ? stack[base + 1].toTensor().to(wide) : target.to(at::kLong).ne(ignored).sum(wide);
  reduce_together(sum, total);
  stack[base] = sum.div(total).to(dtype);
  stack[base + 1] = total.to(dtype);
}

}  // namespace weft::rules
