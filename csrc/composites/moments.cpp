// Means and variances over split dimensions.
#include "composites/moments.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "composites/arguments.h"
#include "composites/composites.h"
#include "composites/split_parts.h"

namespace weft::rules {

using Op = const c10::OperatorHandle&;

namespace {

double count_over(const at::Tensor& x, const std::vector<int64_t>& dims) {
  double count = 1;
  for (int64_t d : dims) count *= static_cast<double>(x.size(d));
  return count;
}

// The mean and the mean square distance from it; none where that is the dearer way.
std::optional<std::pair<at::Tensor, at::Tensor>> gathered_moments(const SplitParts& parts, double of_all,
                                                                  const std::vector<int64_t>& dims) {
  const at::Tensor& part = parts.part();
  const double count = count_over(part, dims);
  const at::Tensor own_mean = count > 0 ? part.mean(dims, true) : at::zeros(parts.row_sizes(), part.options());
  if (!parts.gathering_is_cheaper(own_mean, 3, 2)) return std::nullopt;
  const at::Tensor centered = part - own_mean;
  const at::Tensor own = at::stack({own_mean, (centered * centered).sum(dims, true), at::full_like(own_mean, count)});
  const at::Tensor all = parts.gathered(own), means = all.select(1, 0), counts = all.select(1, 2);
  const at::Tensor mean = (means * counts).sum(0).div_(of_all), apart = means - mean;
  const at::Tensor square = (apart * apart).mul_(counts).add_(all.select(1, 1)).sum(0).div_(of_all);
  return std::make_pair(parts.of_rows(mean), parts.of_rows(square));
}

}  // namespace

Moments moments(const at::Tensor& values, const std::vector<int64_t>& dims) {
  at::Tensor x = values;
  if (holds_shards(x) && !x.is_complex()) {
    const SplitParts parts(x, dims);
    if (sharded(x).layout()->has_partial()) x = parts.like_whole(parts.part().contiguous());
    if (const auto gathered = gathered_moments(parts, count_over(x, dims), dims)) {
      return {gathered->first, gathered->second, x - gathered->first};
    }
  }
  const at::Tensor mean = x.mean(dims, true), centered = x - mean;
  const at::Tensor squares = x.is_complex() ? at::real(centered * centered.conj()) : centered * centered;
  return {mean, squares.mean(dims, true), centered};
}

void run_mean(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const bool all = op.schema().arguments().size() == 2;  // mean(self, *, dtype)
  const auto dims = wrapped_dims(all ? std::vector<int64_t>() : a.ints(1), x.dim());
  const bool keepdim = !all && a[2].toBool();
  const at::ScalarType dtype = a.dtype(all ? 1 : 3).value_or(x.scalar_type());
  at::Tensor out = at::sum(x, dims, keepdim, accumulation_type(dtype));
  a.finish(out.div_(count_over(x, dims)).to(dtype));
}

namespace {

// var.correction, std.correction, and with the mean (self, dim, *, correction, keepdim)
void spread(Op op, CompositeStack& stack, bool root) {
  Arguments a(op, stack);
  const at::Tensor x = accumulated(a.tensor(0));
  const auto dims = wrapped_dims(a.ints(1), x.dim());
  const double correction = a[2].isNone() ? 1.0 : a[2].toScalar().toDouble(), count = count_over(x, dims);
  const Moments of_x = moments(x, dims);
  const auto result = [&](const at::Tensor& t, at::ScalarType dtype) {
    return (a[3].toBool() ? t : t.squeeze(dims)).to(dtype);
  };
  at::Tensor out = of_x.square * (count / std::max(0.0, count - correction));
  if (root) out = out.sqrt();
  const at::ScalarType dtype = a.tensor(0).scalar_type();
  out = result(out, c10::toRealValueType(dtype));
  if (op.schema().returns().size() == 1) return a.finish(out);
  a.finish(out, result(of_x.mean, dtype));
}

}  // namespace

void run_variance(Op op, CompositeStack& stack) { spread(op, stack, false); }
void run_deviation(Op op, CompositeStack& stack) { spread(op, stack, true); }

}  // namespace weft::rules
