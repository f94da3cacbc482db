// Which entry is largest, whether any is true, whether any is not finite: over split dimensions.
#include <ATen/Functions.h>
#include <weft/tensor.h>

#include <limits>

#include "composites/arguments.h"
#include "composites/composites.h"
#include "redistribute/redistribute.h"
#include "redistribute/tensors.h"
#include "tensor/sharded.h"

namespace weft::rules {

using Op = const c10::OperatorHandle&;

namespace {

// Linear index over `dims` (ascending) of a tensor of these sizes, shaped to broadcast against it.
at::Tensor positions(const at::Tensor& x, const std::vector<int64_t>& dims) {
  std::vector<int64_t> sizes(x.dim(), 1);
  int64_t count = 1;
  for (int64_t d : dims) {
    sizes[d] = x.size(d);
    count *= x.size(d);
  }
  return at::arange(count, at::TensorOptions().dtype(at::kLong).device(x.device())).view(sizes);
}

struct Extreme {
  at::Tensor value, index;  // with the reduced dimensions as 1
};

// The first of the largest (smallest) entries; of NaNs the first, where there are any, as core's kernels have it.
Extreme extreme(const at::Tensor& x, const std::vector<int64_t>& dims, bool largest) {
  const at::Tensor index = positions(x, dims);
  Extreme out;
  out.value = largest ? x.amax(dims, true) : x.amin(dims, true);
  at::Tensor chosen = x.eq(out.value);
  if (at::isFloatingType(x.scalar_type())) {
    const at::Tensor nan = x.ne(x), any_nan = nan.to(at::kInt).amax(dims, true).to(at::kBool);
    chosen = chosen.logical_or(nan);
    chosen = chosen.logical_and(nan.logical_or(any_nan.logical_not()));
    out.value = out.value.masked_fill(any_nan, std::numeric_limits<double>::quiet_NaN());
  }
  out.index = at::where(chosen, index, index.numel()).amin(dims, true);
  return out;
}

at::Tensor without(at::Tensor t, const std::vector<int64_t>& dims, bool keepdim) {
  for (size_t d = dims.size(); !keepdim && d-- > 0;) t = t.squeeze(dims[d]);
  return t;
}

// argmax, argmin (self, dim, keepdim)
void select_index(Op op, CompositeStack& stack, bool largest) {
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const auto dims = wrapped_dims(a.ints(1), x.dim());
  const Extreme e = extreme(x, dims, largest);
  a.finish(without(e.index, dims, a[2].toBool()));
}

// max.dim, min.dim (self, dim, keepdim)
void select_entry(Op op, CompositeStack& stack, bool largest) {
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const auto dims = wrapped_dims(a.ints(1), x.dim());
  const Extreme e = extreme(x, dims, largest);
  const bool keepdim = a[2].toBool();
  a.finish(without(e.value, dims, keepdim), without(e.index, dims, keepdim));
}

// any, all (self), (self, dim, keepdim), (self, dims, keepdim); _is_any_true, _is_all_true (self)
void join_truths(Op op, CompositeStack& stack, bool any) {
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const bool everything = op.schema().arguments().size() == 1;
  const auto dims = wrapped_dims(everything ? std::vector<int64_t>() : a.ints(1), x.dim());
  const bool keepdim = !everything && a[2].toBool();
  const at::Tensor truth = x.to(at::kBool).to(at::kInt);
  const at::Tensor out = any ? truth.amax(dims, keepdim) : truth.amin(dims, keepdim);
  a.finish(out.to(x.scalar_type() == at::kByte ? at::kByte : at::kBool));
}

}  // namespace

void run_argmax(Op op, CompositeStack& stack) { select_index(op, stack, true); }
void run_argmin(Op op, CompositeStack& stack) { select_index(op, stack, false); }
void run_max(Op op, CompositeStack& stack) { select_entry(op, stack, true); }
void run_min(Op op, CompositeStack& stack) { select_entry(op, stack, false); }
void run_any(Op op, CompositeStack& stack) { join_truths(op, stack, true); }
void run_all(Op op, CompositeStack& stack) { join_truths(op, stack, false); }

void run_allclose(Op op, CompositeStack& stack) {
  // allclose (self, other, rtol, atol, equal_nan)
  Arguments a(op, stack);
  const at::Tensor close = at::isclose(a.tensor(0), a.tensor(1), a[2].toDouble(), a[3].toDouble(), a[4].toBool());
  a.finish(close.all().item<bool>());
}

void run_squeeze(Op op, CompositeStack& stack) {
  // squeeze (self), (self, dim): the dimensions meant by name, as those of length 1 on a shard may be others.
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const bool one = op.schema().arguments().size() == 2;
  std::vector<int64_t> dims;
  for (int64_t d : wrapped_dims(one ? a.ints(1) : std::vector<int64_t>(), x.dim())) {
    if (d >= 0 && d < x.dim() && x.size(d) == 1) dims.push_back(d);
  }
  a.finish(x.squeeze(dims));
}

void run_squeeze_copy(Op op, CompositeStack& stack) {
  run_squeeze(op, stack);
  stack.back() = stack.back().toTensor().clone();
}

void run_unscale(Op op, CompositeStack& stack) {
  // _amp_foreach_non_finite_check_and_unscale_(self[], found_inf, inv_scale): found on one shard, found on all.
  Arguments a(op, stack);
  const std::vector<at::Tensor> grads = a[0].toTensorVector();
  at::Tensor found = a.tensor(1);
  const at::Tensor scale = full_or_alias(a.tensor(2));
  const Mesh mesh = [&] {
    for (const at::Tensor& g : grads) {
      if (holds_shards(g)) return sharded(g).layout()->mesh();
    }
    return sharded(holds_shards(found) ? found : a.tensor(2)).layout()->mesh();
  }();
  std::vector<at::Tensor> locals;
  for (const at::Tensor& g : grads) {
    if (!holds_shards(g)) {
      locals.push_back(g);
      continue;
    }
    ShardedTensorImpl& impl = sharded(g);
    Cell& root = impl.cell();
    if (impl.layout()->has_partial()) redistribute_content(root, root.layout->without_partial());
    locals.push_back(impl.local());
    impl.wrote();
  }
  const at::Tensor here = at::zeros({}, scale.options());
  at::_amp_foreach_non_finite_check_and_unscale_(locals, const_cast<at::Tensor&>(here), scale);
  TensorLayout::Partial partial{};
  for (int i = 0; i < mesh->ndim(); ++i) partial[i] = Reduction::max;
  const at::Tensor anywhere =
      redistribute_local(here, {}, TensorLayout::get(mesh, {}, partial), TensorLayout::replicated(mesh, 0));
  if (holds_shards(found)) {
    found.copy_(at::maximum(found, anywhere.expand(found.sizes())));
  } else {
    found.copy_(at::maximum(found, anywhere));
  }
  a.finish();
}

}  // namespace weft::rules
