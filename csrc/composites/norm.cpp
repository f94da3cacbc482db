// Normalizations over split dimensions. Formulas: Ioffe & Szegedy 2015 (batch), Ba et al. 2016 (layer), Zhang &
// Sennrich 2019 (RMS); the gradients are theirs written with means.
#include <ATen/Functions.h>

#include <limits>

#include "composites/arguments.h"
#include "composites/composites.h"
#include "composites/moments.h"
#include "composites/split_parts.h"

namespace weft::rules {

using Op = const c10::OperatorHandle&;

namespace {

std::vector<int64_t> last_dims(int64_t ndim, size_t count) {
  std::vector<int64_t> dims;
  for (int64_t d = ndim - static_cast<int64_t>(count); d < ndim; ++d) dims.push_back(d);
  return dims;
}
std::vector<int64_t> first_dims(int64_t ndim, size_t rest) {
  std::vector<int64_t> dims;
  for (int64_t d = 0; d < ndim - static_cast<int64_t>(rest); ++d) dims.push_back(d);
  return dims;
}
at::Tensor sum_over(const at::Tensor& t, const std::vector<int64_t>& dims) { return dims.empty() ? t : t.sum(dims); }
at::Tensor or_none(bool wanted, const at::Tensor& t) { return wanted ? t : at::Tensor(); }

// Shape [1, c, 1, ...] against [b, c, ...].
at::Tensor per_channel(const at::Tensor& t, int64_t ndim) {
  std::vector<int64_t> sizes(ndim, 1);
  sizes[1] = t.numel();
  return t.reshape(sizes);
}
std::vector<int64_t> all_but_channels(int64_t ndim) {
  std::vector<int64_t> dims = {0};
  for (int64_t d = 2; d < ndim; ++d) dims.push_back(d);
  return dims;
}

// The dtype of what kernels save for backward: that of the input, unless a parameter is wider.
at::ScalarType saved_dtype(const at::Tensor& input, std::initializer_list<at::Tensor> parameters) {
  for (const at::Tensor& p : parameters) {
    if (p.defined() && p.scalar_type() != input.scalar_type()) return accumulation_type(input.scalar_type());
  }
  return input.scalar_type();
}
// Of those of layers and batches on GPUs: always the wide one.
at::ScalarType statistics_dtype(const at::Tensor& input, std::initializer_list<at::Tensor> parameters) {
  return input.is_cpu() ? saved_dtype(input, parameters) : accumulation_type(input.scalar_type());
}

}  // namespace

void run_layer_norm(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor x = accumulated(a.tensor(0)), weight = a.tensor(2), bias = a.tensor(3);
  const auto dims = last_dims(x.dim(), a.ints(1).size());
  const Moments of_x = moments(x, dims);
  const at::Tensor rstd = (of_x.square + a[4].toDouble()).rsqrt_();
  at::Tensor out = of_x.centered * rstd;
  if (weight.defined()) out = out * weight;
  if (bias.defined()) out = out + bias;
  const at::ScalarType saved = statistics_dtype(a.tensor(0), {weight, bias});
  a.finish(out.to(a.tensor(0).scalar_type()), of_x.mean.to(saved), rstd.to(saved));
}

void run_layer_norm_backward(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor grad = accumulated(a.tensor(0)), x = accumulated(a.tensor(1)), mean = a.tensor(3),
                   rstd = a.tensor(4), weight = a.tensor(5);
  const auto mask = a[7].toBoolList();
  const size_t k = a.ints(2).size();
  const auto dims = last_dims(x.dim(), k), batch = first_dims(x.dim(), k);
  const at::Tensor hat = (x - mean) * rstd;
  const at::Tensor g = weight.defined() ? grad * weight : grad;
  at::Tensor gx, gw, gb;
  if (mask[0]) {
    const auto means = reduced_together({g.mean(dims, true), (g * hat).mean(dims, true)});
    gx = ((g - means[0]) - hat * means[1]) * rstd;
    gx = gx.to(a.tensor(1).scalar_type());
  }
  if (mask[1]) gw = sum_over(grad * hat, batch).to(weight.defined() ? weight.scalar_type() : grad.scalar_type());
  if (mask[2]) gb = sum_over(grad, batch).to(a.tensor(6).defined() ? a.tensor(6).scalar_type() : grad.scalar_type());
  a.finish(gx, gw, gb);
}

void run_rms_norm(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor x = accumulated(a.tensor(0)), weight = a.tensor(2);
  const auto dims = last_dims(x.dim(), a.ints(1).size());
  const double eps = a[3].isNone() ? (x.scalar_type() == at::kDouble ? std::numeric_limits<double>::epsilon()
                                                                     : std::numeric_limits<float>::epsilon())
                                   : a[3].toDouble();
  const at::Tensor rstd = (x * x).mean(dims, true).add_(eps).rsqrt_();
  at::Tensor out = x * rstd;
  if (weight.defined()) out = out * weight;
  a.finish(out.to(a.tensor(0).scalar_type()), rstd);
}

void run_rms_norm_backward(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor grad = accumulated(a.tensor(0)), x = accumulated(a.tensor(1)), rstd = a.tensor(3),
                   weight = a.tensor(4);
  const auto mask = a[5].toBoolList();
  const size_t k = a.ints(2).size();
  const auto dims = last_dims(x.dim(), k), batch = first_dims(x.dim(), k);
  const at::Tensor hat = x * rstd, g = weight.defined() ? grad * weight : grad;
  at::Tensor gx, gw;
  if (mask[0]) gx = ((g - hat * (g * hat).mean(dims, true)) * rstd).to(a.tensor(1).scalar_type());
  if (mask[1] && weight.defined()) gw = sum_over(grad * hat, batch).to(weight.scalar_type());
  a.finish(gx, gw);
}

namespace {

// Shape [b, c, ...] as [b, groups, c / groups, ...], and the dimensions of a group.
at::Tensor in_groups(const at::Tensor& x, int64_t groups) {
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes[1] /= groups;
  sizes.insert(sizes.begin() + 1, groups);
  return x.reshape(sizes);
}
std::vector<int64_t> dims_of_group(const at::Tensor& grouped) {
  return last_dims(grouped.dim(), static_cast<size_t>(grouped.dim() - 2));
}
// Shape [b, groups] against [b, groups, c / groups, ...].
at::Tensor per_group(const at::Tensor& t, int64_t ndim) {
  std::vector<int64_t> sizes(ndim, 1);
  sizes[0] = t.size(0), sizes[1] = t.size(1);
  return t.reshape(sizes);
}

}  // namespace

void run_group_norm(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor input = a.tensor(0), x = accumulated(input), weight = a.tensor(1), bias = a.tensor(2);
  const at::Tensor grouped = in_groups(x, a[6].toInt());
  const Moments of_x = moments(grouped, dims_of_group(grouped));
  const at::Tensor rstd = (of_x.square + a[7].toDouble()).rsqrt_();
  at::Tensor out = (of_x.centered * rstd).reshape(x.sizes());
  if (weight.defined()) out = out * per_channel(weight, x.dim());
  if (bias.defined()) out = out + per_channel(bias, x.dim());
  const at::ScalarType saved = saved_dtype(input, {weight, bias});
  a.finish(out.to(input.scalar_type()), of_x.mean.flatten(1).clone().to(saved), rstd.flatten(1).clone().to(saved));
}

void run_group_norm_backward(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor grad = accumulated(a.tensor(0)), x = accumulated(a.tensor(1)), weight = a.tensor(4);
  const int64_t n = x.dim(), groups = a[8].toInt();
  const auto mask = a[9].toBoolList();
  const at::Tensor grouped = in_groups(x, groups), rstd = per_group(accumulated(a.tensor(3)), grouped.dim());
  const at::Tensor hat = (grouped - per_group(accumulated(a.tensor(2)), grouped.dim())) * rstd;
  at::Tensor gx, gw, gb;
  if (mask[0]) {
    const at::Tensor g = in_groups(weight.defined() ? grad * per_channel(weight, n) : grad, groups);
    const auto dims = dims_of_group(grouped);
    const auto means = reduced_together({g.mean(dims, true), (g * hat).mean(dims, true)});
    gx = (((g - means[0]) - hat * means[1]) * rstd).reshape(x.sizes()).to(a.tensor(1).scalar_type());
  }
  const at::ScalarType saved = weight.defined() ? weight.scalar_type() : a.tensor(0).scalar_type();
  if (mask[1]) gw = (grad * hat.reshape(x.sizes())).sum(all_but_channels(n)).to(saved);
  if (mask[2]) gb = grad.sum(all_but_channels(n)).to(saved);
  a.finish(gx, gw, gb);
}

void run_batch_norm(Op op, CompositeStack& stack) {
  // Training: statistics over the batch of all shards.
  Arguments a(op, stack);
  const at::Tensor input = a.tensor(0), x = accumulated(input), weight = a.tensor(1), bias = a.tensor(2);
  at::Tensor running_mean = a.tensor(3), running_var = a.tensor(4);
  const double momentum = a[6].toDouble(), eps = a[7].toDouble();
  const auto dims = all_but_channels(x.dim());
  const double count = static_cast<double>(x.numel()) / static_cast<double>(x.size(1));
  const Moments of_x = moments(x, dims);
  const at::Tensor mean = of_x.mean.flatten().clone(), var = of_x.square.flatten(), rstd = (var + eps).rsqrt_();
  at::Tensor out = of_x.centered * per_channel(rstd, x.dim());
  if (weight.defined()) out = out * per_channel(weight, x.dim());
  if (bias.defined()) out = out + per_channel(bias, x.dim());
  if (running_mean.defined()) running_mean.mul_(1 - momentum).add_(mean, momentum);
  if (running_var.defined()) running_var.mul_(1 - momentum).add_(var, momentum * count / std::max(count - 1, 1.0));
  const at::ScalarType saved = statistics_dtype(input, {running_mean, running_var});
  a.finish(out.to(input.scalar_type()), mean.to(saved), rstd.to(saved));
}

void run_batch_norm_backward(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor grad = accumulated(a.tensor(0)), x = accumulated(a.tensor(1)), weight = a.tensor(2),
                   mean = a.tensor(5), rstd = a.tensor(6);
  const auto mask = a[9].toBoolList();
  const int64_t n = x.dim();
  const auto dims = all_but_channels(n);
  const double count = static_cast<double>(x.numel()) / static_cast<double>(x.size(1));
  const at::Tensor hat = (x - per_channel(mean, n)) * per_channel(rstd, n);
  at::Tensor gw = (grad * hat).sum(dims), gb = grad.sum(dims), gx;
  if (mask[0]) {
    const auto sums = reduced_together({gw, gb});
    gw = sums[0], gb = sums[1];
    at::Tensor scale = weight.defined() ? rstd * weight : rstd;
    gx = (grad - per_channel(gb, n) / count - hat * (per_channel(gw, n) / count)) * per_channel(scale, n);
    gx = gx.to(a.tensor(1).scalar_type());
  }
  a.finish(gx, or_none(mask[1], gw), or_none(mask[2], gb));
}

// cuDNN's batch norm has rules of its own for what it saves and writes; as the general one it is one rule less.
void run_cudnn_batch_norm(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  auto [out, mean, rstd] = at::native_batch_norm(a.tensor(0), a.tensor(1), a.tensor(2), a.tensor(3), a.tensor(4),
                                                 a[5].toBool(), a[6].toDouble(), a[7].toDouble());
  a.finish(out, mean, rstd, at::empty({0}, a.tensor(0).options().dtype(at::kByte)));
}

void run_cudnn_batch_norm_backward(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  auto [x, weight, bias] =
      at::native_batch_norm_backward(a.tensor(1), a.tensor(0), a.tensor(2), a.tensor(3), a.tensor(4), a.tensor(5),
                                     a.tensor(6), true, a[7].toDouble(), {true, true, true});
  a.finish(x, weight, bias);
}

}  // namespace weft::rules
