// Softmax, losses, means and norms over split dimensions.
#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <limits>

#include "composites/arguments.h"
#include "composites/composites.h"

namespace weft::rules {

using Op = const c10::OperatorHandle&;

void run_softmax(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const int64_t dim = a[1].toInt();
  const at::Tensor x = accumulated(a.tensor(0));
  const at::Tensor e = (x - x.amax(dim, true)).exp_();
  at::Tensor out = e / e.sum(dim, true);
  a.finish(a[2].toBool() ? out : out.to(a.tensor(0).scalar_type()));
}

void run_safe_softmax(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const int64_t dim = a[1].toInt();
  const at::ScalarType dtype = a.dtype(2).value_or(a.tensor(0).scalar_type());
  const at::Tensor x = accumulated(a.tensor(0).to(dtype));
  const at::Tensor top = x.amax(dim, true);
  const at::Tensor masked = top.eq(-std::numeric_limits<double>::infinity());
  const at::Tensor e = (x - top.masked_fill(masked, 0)).exp_();
  a.finish((e / e.sum(dim, true).masked_fill(masked, 1)).to(dtype));
}

void run_log_softmax(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const int64_t dim = a[1].toInt();
  const at::Tensor x = accumulated(a.tensor(0));
  const at::Tensor z = x - x.amax(dim, true);
  at::Tensor out = z - z.exp().sum(dim, true).log();
  a.finish(a[2].toBool() ? out : out.to(a.tensor(0).scalar_type()));
}

void run_softmax_backward(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor g = accumulated(a.tensor(0)), y = accumulated(a.tensor(1));
  const at::Tensor gy = g * y;
  a.finish((gy - y * gy.sum(a[2].toInt(), true)).to(a[3].toScalarType()));
}

void run_log_softmax_backward(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor g = accumulated(a.tensor(0)), y = accumulated(a.tensor(1));
  a.finish((g - y.exp() * g.sum(a[2].toInt(), true)).to(a[3].toScalarType()));
}

void run_logsumexp(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  at::Tensor x = a.tensor(0);
  const auto dims = wrapped_dims(a.ints(1), x.dim());
  const bool keepdim = a[2].toBool();
  const at::ScalarType dtype = at::isIntegralType(x.scalar_type(), true) ? at::kFloat : x.scalar_type();
  x = accumulated(x.to(dtype));
  at::Tensor top = (x.is_complex() ? at::real(x) : x).amax(dims, true);
  top = top.masked_fill(top.abs().eq(std::numeric_limits<double>::infinity()), 0);
  const at::Tensor sum = (x - top).exp_().sum(dims, true).log_();
  at::Tensor out = sum + top;
  if (!keepdim) {
    for (auto d = dims.rbegin(); d != dims.rend(); ++d) out = out.squeeze(*d);
  }
  a.finish(out.to(dtype));
}

void run_mean(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const bool all = op.schema().arguments().size() == 2;  // mean(self, *, dtype)
  const auto dims = wrapped_dims(all ? std::vector<int64_t>() : a.ints(1), x.dim());
  const bool keepdim = !all && a[2].toBool();
  const at::ScalarType dtype = a.dtype(all ? 1 : 3).value_or(x.scalar_type());
  int64_t count = 1;
  for (int64_t d : dims) count *= x.size(d);
  at::Tensor out = at::sum(x, dims, keepdim, accumulation_type(dtype));
  a.finish(out.div_(static_cast<double>(count)).to(dtype));
}

namespace {

// var.correction, std.correction, and with the mean (self, dim, *, correction, keepdim)
void spread(Op op, CompositeStack& stack, bool root) {
  Arguments a(op, stack);
  const at::Tensor x = accumulated(a.tensor(0));
  const auto dims = wrapped_dims(a.ints(1), x.dim());
  const double correction = a[2].isNone() ? 1.0 : a[2].toScalar().toDouble();
  int64_t count = 1;
  for (int64_t d : dims) count *= x.size(d);
  at::Tensor mean = x.mean(dims, true);
  const at::Tensor centered = x - mean;
  at::Tensor square = at::isComplexType(x.scalar_type()) ? at::real(centered * centered.conj()) : centered * centered;
  at::Tensor out = square.sum(dims, a[3].toBool()) / std::max(0.0, static_cast<double>(count) - correction);
  if (root) out = out.sqrt();
  out = out.to(c10::toRealValueType(a.tensor(0).scalar_type()));
  if (op.schema().returns().size() == 1) return a.finish(out);
  for (size_t d = dims.size(); !a[3].toBool() && d-- > 0;) mean = mean.squeeze(dims[d]);
  a.finish(out, mean.to(a.tensor(0).scalar_type()));
}

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

void run_variance(Op op, CompositeStack& stack) { spread(op, stack, false); }
void run_deviation(Op op, CompositeStack& stack) { spread(op, stack, true); }

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

void run_nll_loss(Op op, CompositeStack& stack) {
  // The sum and the weight of all shards, reduced in one.
  stack[stack.size() - op.schema().arguments().size() + reduction_argument(op)] = kSum;
  op.callBoxed(&stack);
  const size_t base = stack.size() - 2;
  const at::Tensor both = at::stack({stack[base].toTensor(), stack[base + 1].toTensor()});
  const at::Tensor weight = both.select(0, 1).clone();
  stack[base] = both.select(0, 0).div(weight);
  stack[base + 1] = weight;
}

void run_native_dropout(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const double p = a[1].toDouble();
  const bool train = a[2].isNone() || a[2].toBool();
  if (!train) {
    at::Tensor ones = at::ones_like(x, x.options().dtype(at::kBool));
    return a.finish(x.clone(), ones);
  }
  const at::Tensor mask = at::empty_like(x, x.options().dtype(at::kBool)).bernoulli_(1 - p);
  const double scale = p == 1 ? 0.0 : 1.0 / (1.0 - p);
  at::Tensor out = x.mul(mask).mul_(scale);
  a.finish(out, mask);
}

}  // namespace weft::rules
