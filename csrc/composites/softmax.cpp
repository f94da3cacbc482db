// Softmax, means and variances over split dimensions.
#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <limits>

#include "comm/cost/cost.h"
#include "composites/arguments.h"
#include "composites/composites.h"
#include "redistribute/redistribute.h"
#include "tensor/sharded.h"

namespace weft::rules {

using Op = const c10::OperatorHandle&;

namespace {

using comm::Moves;

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
      : dim_(wrapped_dims({dim}, whole.dim()).at(0)), sizes_(whole.sizes().begin(), whole.sizes().end()) {
    const ShardedTensorImpl& impl = sharded(whole);
    layout_ = impl.layout()->without_partial();
    part_ = redistribute_local(impl.local(), sizes_, impl.layout(), layout_).to(accumulation_type(dtype));
    own_top_ = part_.size(dim_) > 0 ? part_.amax(dim_, true) : lowest();
    if (gathering_is_cheaper()) {
      take_exp();
      gather();
    } else {
      own_top_ = top_ = reduced(own_top_, Reduction::max);
      take_exp();
      sum_ = reduced(exp_.sum(dim_, true), Reduction::sum);
    }
  }

  // NaN where all is minus infinity.
  at::Tensor softmax() const { return exp_over(sum_); }
  at::Tensor safe_softmax() const { return exp_over(sum_.masked_fill(sum_.eq(0), 1)); }
  at::Tensor log_softmax() const { return (part_ - finite(top_)).sub_(sum_.log()); }

  at::Tensor result(const at::Tensor& part, at::ScalarType dtype) const {
    return make_sharded(part.to(dtype).contiguous(), layout_, {sizes_, row_major_strides(sizes_)});
  }

 private:
  at::Tensor exp_over(const at::Tensor& sum) const { return exp_ * (own_top_ - finite(top_)).exp_().div_(sum); }

  void take_exp() { exp_ = (part_ - finite(own_top_)).exp_(); }

  at::Tensor lowest() const {
    Sizes sizes(part_.sizes().begin(), part_.sizes().end());
    sizes[dim_] = 1;
    return at::full(sizes, -std::numeric_limits<double>::infinity(), part_.options());
  }

  // Of one value for each row that this rank has.
  double row_bytes() const { return static_cast<double>(own_top_.numel() * own_top_.element_size()); }

  bool gathering_is_cheaper() const {
    const comm::MeshCost& cost = comm::cost_of(layout_->mesh());
    double gathered = 0, reductions = 0, bytes = 2 * row_bytes();
    for (const Split& s : layout_->dim(dim_)) {
      const comm::AxisCost& axis = cost.axes[s.axis];
      bytes *= static_cast<double>(axis.ranks());
      gathered += axis.seconds(Moves::all_gather, bytes);
      reductions += 2 * axis.seconds(Moves::all_reduce, row_bytes());
    }
    return gathered <= reductions;
  }

  // Over the axes that split the dimension.
  at::Tensor reduced(const at::Tensor& rows, Reduction reduction) const {
    TensorLayout::Dims dims = layout_->dims();
    TensorLayout::Partial partial{};
    for (const Split& s : dims[dim_]) partial[s.axis] = reduction;
    dims[dim_].clear();
    const Mesh mesh = layout_->mesh();
    Sizes sizes = sizes_;
    sizes[dim_] = 1;
    return redistribute_local(rows, sizes, TensorLayout::get(mesh, dims, partial), TensorLayout::get(mesh, dims));
  }

  // Of each part its largest and its sum: [parts, 2, rows...].
  void gather() {
    TensorLayout::Dims dims = layout_->dims();
    Sizes sizes = sizes_;
    sizes[dim_] = 1;
    int64_t parts = 1;
    std::vector<Split> over;
    for (const Split& s : dims[dim_]) {
      parts *= layout_->mesh()->axis_size(s.axis);
      over.push_back({s.axis, 0});
    }
    dims[dim_].clear();
    dims.insert(dims.begin(), {over, {}});
    sizes.insert(sizes.begin(), {parts, 2});
    const Layout from = TensorLayout::get(layout_->mesh(), dims);
    dims[0].clear();
    const at::Tensor own = at::stack({own_top_, exp_.sum(dim_, true)}).unsqueeze(0);
    const at::Tensor all = redistribute_local(own, sizes, from, TensorLayout::get(layout_->mesh(), dims));
    const at::Tensor tops = all.select(1, 0);
    top_ = tops.amax(0);
    sum_ = (tops - finite(top_)).exp_().mul_(all.select(1, 1)).sum(0);
  }

  int64_t dim_;
  Sizes sizes_;
  Layout layout_ = nullptr;
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

}  // namespace

void run_variance(Op op, CompositeStack& stack) { spread(op, stack, false); }
void run_deviation(Op op, CompositeStack& stack) { spread(op, stack, true); }

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
