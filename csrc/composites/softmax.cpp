// Softmax over a split dimension.
#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <limits>

#include "composites/arguments.h"
#include "composites/composites.h"
#include "composites/split_parts.h"
#include "layout/shard.h"
#include "random/mode.h"
#include "random/random.h"
#include "redistribute/redistribute.h"
#include "tensor/sharded.h"
#include "tensor/traced.h"
#include "tensor/unreal.h"

namespace weft::rules {

using Op = const c10::OperatorHandle&;

namespace {

// Zeros in place of minus infinity, which is the largest where all is masked out.
at::Tensor finite(const at::Tensor& top) {
  return top.masked_fill(top.eq(-std::numeric_limits<double>::infinity()), 0);
}

// exp(x) along a split dimension of which this rank has a part, and the sum over all of it. Each part's exponents are
// taken from its own largest, and the parts' sums brought to the largest of all when both are here (the online softmax
// of Milakov and Gimelshein, 2018): one collective. Where it is the dearer way, the largest is reduced first.
class SplitExp {
 public:
  SplitExp(const at::Tensor& whole, at::ScalarType dtype, int64_t dim)
      : parts_(whole, wrapped_dims({dim}, whole.dim())), dim_(wrapped_dims({dim}, whole.dim()).at(0)) {
    part_ = parts_.part().to(accumulation_type(dtype));
    own_top_ = part_.size(dim_) > 0 ? part_.amax(dim_, true) : lowest();
    if (parts_.gathering_is_cheaper(own_top_, 2, 2)) {
      take_exp();
      gather();
    } else {
      own_top_ = top_ = parts_.reduced(own_top_, Reduction::max);
      take_exp();
      sum_ = parts_.reduced(exp_.sum(dim_, true), Reduction::sum);
    }
  }

  // NaN where all is minus infinity.
  at::Tensor softmax() const { return exp_over(sum_); }
  at::Tensor safe_softmax() const { return exp_over(sum_.masked_fill(sum_.eq(0), 1)); }
  at::Tensor log_softmax() const { return (part_ - finite(top_)).sub_(sum_.log()); }

  at::Tensor result(const at::Tensor& part, at::ScalarType dtype) const {
    return parts_.like_whole(part.to(dtype).contiguous());
  }

 private:
  at::Tensor exp_over(const at::Tensor& sum) const { return exp_ * (own_top_ - finite(top_)).exp_().div_(sum); }

  void take_exp() { exp_ = (part_ - finite(own_top_)).exp_(); }

  at::Tensor lowest() const {
    return at::full(parts_.row_sizes(), -std::numeric_limits<double>::infinity(), part_.options());
  }

  // Of each part its largest and its sum.
  void gather() {
    const at::Tensor all = parts_.gathered(at::stack({own_top_, exp_.sum(dim_, true)}));
    const at::Tensor tops = all.select(1, 0);
    top_ = tops.amax(0);
    sum_ = (tops - finite(top_)).exp_().mul_(all.select(1, 1)).sum(0);
  }

  const SplitParts parts_;
  const int64_t dim_;
  at::Tensor part_, exp_;
  at::Tensor own_top_, top_, sum_;  // [rows...], the dimension 1 long
};

// Of (self, dim, half_to_float).
at::ScalarType result_type(const Arguments& a) {
  const at::ScalarType dtype = a.tensor(0).scalar_type();
  return a[2].toBool() ? accumulation_type(dtype) : dtype;
}

}  // namespace

void run_softmax(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const SplitExp split(x, x.scalar_type(), a[1].toInt());
  a.finish(split.result(split.softmax(), result_type(a)));
}

void run_safe_softmax(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const at::ScalarType dtype = a.dtype(2).value_or(x.scalar_type());
  const SplitExp split(x, dtype, a[1].toInt());
  a.finish(split.result(split.safe_softmax(), dtype));
}

void run_log_softmax(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const SplitExp split(x, x.scalar_type(), a[1].toInt());
  a.finish(split.result(split.log_softmax(), result_type(a)));
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

namespace {

// Zeros in place of infinities, from which nothing can be subtracted.
at::Tensor bounded(const at::Tensor& top) {
  return top.masked_fill(top.abs().eq(std::numeric_limits<double>::infinity()), 0);
}

// log(sum(exp(x))) over the dimensions, which stay, 1 long. As in SplitExp.
at::Tensor log_sum_exp(const at::Tensor& x, const std::vector<int64_t>& dims) {
  if (holds_shards(x) && !x.is_complex()) {
    const SplitParts parts(x, dims);
    const at::Tensor& part = parts.part();
    const at::Tensor lowest = at::full(parts.row_sizes(), -std::numeric_limits<double>::infinity(), part.options());
    const at::Tensor own_top = part.numel() > 0 ? part.amax(dims, true) : lowest;
    if (parts.gathering_is_cheaper(own_top, 2, 2)) {
      const at::Tensor own_sum = (part - bounded(own_top)).exp_().sum(dims, true);
      const at::Tensor all = parts.gathered(at::stack({own_top, own_sum})), tops = all.select(1, 0);
      const at::Tensor top = bounded(tops.amax(0)), sums = all.select(1, 1);
      return parts.of_rows((tops - top).exp_().mul_(sums).sum(0).log_().add_(top));
    }
  }
  const at::Tensor top = bounded((x.is_complex() ? at::real(x) : x).amax(dims, true));
  return (x - top).exp_().sum(dims, true).log_().add(top);
}

}  // namespace

void run_logsumexp(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const auto dims = wrapped_dims(a.ints(1), x.dim());
  const bool whole = at::isIntegralType(x.scalar_type(), true);
  const at::ScalarType dtype = whole ? c10::typeMetaToScalarType(at::get_default_dtype()) : x.scalar_type();
  const at::Tensor out = log_sum_exp(accumulated(x.to(dtype)), dims);
  a.finish((a[2].toBool() ? out : out.squeeze(dims)).to(dtype));
}

namespace {

// In replay mode a GPU's own kernel draws another stream than bernoulli_ does there.
bool draws_as_core(const at::Tensor& x) {
  return random::mode() == random::Mode::replay && !is_traced(sharded(x).local()) && x.numel() > 0;
}

// What core drops of the full tensor, laid out as `x` is.
at::Tensor mask_of_core(const at::Tensor& x, double p) {
  const Layout layout = sharded(x).layout()->without_partial();
  const auto options = options_on(layout->mesh(), x.options());
  const at::Tensor whole = at::empty_strided(x.sizes(), dense_strides(x.sizes(), x.strides()), options).fill_(1);
  at::Tensor mask = std::get<1>(at::native_dropout(whole, p, /*train=*/true));
  random::note_drawn(sample(mask, kOperandWords));
  const Geometry geometry = geometry_of(mask);
  const Layout replicated = TensorLayout::replicated(layout->mesh(), x.dim());
  mask = redistribute_local(mask, x.sizes(), replicated, layout, geometry.strides);
  return make_sharded(std::move(mask), layout, geometry);
}

}  // namespace

void run_native_dropout(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const double p = a[1].toDouble();
  const bool train = a[2].isNone() || a[2].toBool();
  if (!train) {
    at::Tensor ones = at::ones_like(x, x.options().dtype(at::kBool));
    return a.finish(x.clone(), ones);
  }
  const at::Tensor mask =
      draws_as_core(x) ? mask_of_core(x, p) : at::empty_like(x, x.options().dtype(at::kBool)).bernoulli_(1 - p);
  const double scale = p == 1 ? 0.0 : 1.0 / (1.0 - p);
  at::Tensor out = x.mul(mask).mul_(scale);
  a.finish(out, mask);
}

}  // namespace weft::rules
