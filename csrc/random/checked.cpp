// The conditions and messages are torch's own (ATen/native/DistributionTemplates.h).
#include "random/checked.h"

#include <ATen/native/DistributionTemplates.h>
#include <ATen/ops/_assert_async.h>
#include <ATen/ops/view_as_real.h>

#include "random/draw.h"

namespace weft::random {
namespace {

/// A check on values. On a GPU they are not waited for: as torch's own kernels do, a failure stops the device.
void check_all(const at::Tensor& good, const char* message) {
  if (good.numel() == 0 || good.is_meta()) return;
  const at::Tensor all = good.all();
  if (all.is_cuda()) return at::_assert_async(all, message);
  TORCH_CHECK(all.item<bool>(), "[W068] ", message);
}

void check_floating(at::ScalarType dtype, const char* kernel) {
  TORCH_CHECK_NOT_IMPLEMENTED(at::isFloatingType(dtype), "[W068] ", '"', kernel, "\" not implemented for '", dtype,
                              "'");
}

/// A parameter as the kernels take it, broadcast to the result.
at::Tensor parameter(const at::Tensor& values, const at::Tensor& out) {
  return values.to(out.options().dtype(at::kDouble)).expand(out.sizes());
}

/// A complex tensor as pairs of reals along one more dimension.
GlobalIndex with_pairs(GlobalIndex index) {
  index.global_sizes.push_back(2);
  index.dims.push_back({{0, 2}});
  return index;
}

template <class T>
int64_t largest_integer() {
  if constexpr (std::is_integral_v<T>) {
    constexpr uint64_t kMost = static_cast<uint64_t>(std::numeric_limits<T>::max());
    return static_cast<int64_t>(std::min(kMost, static_cast<uint64_t>(std::numeric_limits<int64_t>::max())));
  } else {
    return int64_t{1} << std::numeric_limits<T>::digits;
  }
}
/// The largest integer that random_() draws where no bound is given.
int64_t largest_integer(at::ScalarType dtype) {
  int64_t most = 0;
  AT_DISPATCH_V2(dtype, "random_kernel_cpu", AT_WRAP([&] { most = largest_integer<scalar_t>(); }),
                 AT_EXPAND(AT_ALL_TYPES), AT_EXPAND(AT_BAREBONES_UNSIGNED_TYPES), at::kBool, at::kHalf, at::kBFloat16);
  return most;
}

void integers(at::Tensor& out, const GlobalIndex& index, int64_t base, uint64_t range, uint64_t key) {
  fill(out, index, {.distribution = Distribution::integers, .base = base, .range = range}, key);
}

}  // namespace

void uniform(at::Tensor& out, const GlobalIndex& index, double from, double to, uint64_t key) {
  if (out.is_complex()) {
    at::Tensor pairs = at::view_as_real(out);
    return uniform(pairs, with_pairs(index), from, to, key);
  }
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, out.scalar_type(), "check_uniform_bounds", [&] {
    const auto least = static_cast<double>(std::numeric_limits<scalar_t>::lowest());
    const auto most = static_cast<double>(std::numeric_limits<scalar_t>::max());
    TORCH_CHECK(from >= least && from <= most, "[W068] from is out of bounds for ", out.dtype());
    TORCH_CHECK(to >= least && to <= most, "[W068] to is out of bounds for ", out.dtype());
    TORCH_CHECK(from <= to, "[W068] uniform_ expects to return a [from, to) range, but found from=", from,
                " > to=", to);
    TORCH_CHECK(to - from <= most, "[W068] uniform_ expects to-from <= std::numeric_limits<", out.scalar_type(),
                ">::max(), but found to=", to, " and from=", from, " which result in to-from to exceed the limit");
  });
  fill(out, index, {Distribution::uniform, from, to}, key);
}

void normal(at::Tensor& out, const GlobalIndex& index, double mean, double std, uint64_t key) {
  TORCH_CHECK(std >= 0.0, "[W068] normal expects std >= 0.0, but found std ", std);
  if (!out.is_complex()) return fill(out, index, {Distribution::normal, mean, std}, key);
  // As in torch, both parts have the mean's value and half the variance.
  fill(at::view_as_real(out), with_pairs(index), {Distribution::normal, mean, std / std::sqrt(2.0)}, key);
}

void normal_each(at::Tensor& out, const GlobalIndex& index, const c10::IValue& mean, const c10::IValue& std,
                 uint64_t key) {
  const bool scaled = std.isTensor();
  if (scaled) {
    TORCH_CHECK(!std.toTensor().is_complex(), "[W068] normal expects standard deviation to be non-complex");
    check_all(std.toTensor().ge(0), "normal expects all elements of std >= 0.0");
  }
  at::Tensor values = at::empty_like(out);  // `out` may be one of the parameters
  normal(values, index, 0, scaled ? 1 : std.toDouble(), key);
  if (scaled) values.mul_(std.toTensor());
  out.copy_(mean.isTensor() ? values.add_(mean.toTensor()) : values.add_(mean.toDouble()));
}

void bernoulli(at::Tensor& out, const GlobalIndex& index, double p, uint64_t key) {
  TORCH_CHECK(0 <= p && p <= 1, "[W068] bernoulli_ expects p to be in [0, 1], but got p=", p);
  fill(out, index, {Distribution::bernoulli, p}, key);
}

void bernoulli_each(at::Tensor& out, const GlobalIndex& index, const at::Tensor& p, uint64_t key) {
  check_floating(p.scalar_type(), "bernoulli_tensor_cpu_p_");
  check_all(p.ge(0).logical_and_(p.le(1)), "Expected p_in >= 0 && p_in <= 1 to be true, but got false.");
  fill(out, index, {.distribution = Distribution::bernoulli_each, .params = {parameter(p, out)}}, key);
}

void exponential(at::Tensor& out, const GlobalIndex& index, double lambda, uint64_t key) {
  TORCH_CHECK(at::isFloatingType(out.scalar_type()), "[W068] Exponential distribution is a continuous probability ",
              "distribution. dtype must be a floating point but you specified ", out.scalar_type());
  TORCH_CHECK(lambda > 0.0, "[W068] exponential_ expects lambda > 0.0, but found lambda=", lambda);
  fill(out, index, {Distribution::exponential, lambda}, key);
}

void geometric(at::Tensor& out, const GlobalIndex& index, double p, uint64_t key) {
  TORCH_CHECK(0 < p && p < 1, "[W068] geometric_ expects p to be in (0, 1), but got p=", p);
  fill(out, index, {Distribution::geometric, p}, key);
}

void cauchy(at::Tensor& out, const GlobalIndex& index, double median, double sigma, uint64_t key) {
  TORCH_CHECK(sigma > 0.0, "[W068] cauchy_ expects sigma > 0.0, but found sigma=", sigma);
  TORCH_CHECK(at::isFloatingType(out.scalar_type()),
              "[W068] Cauchy distribution is a continuous probability distribution. ",
              "dtype must be a floating point but you specified ", out.dtype());
  fill(out, index, {Distribution::cauchy, median, sigma}, key);
}

void log_normal(at::Tensor& out, const GlobalIndex& index, double mean, double std, uint64_t key) {
  TORCH_CHECK(std > 0.0, "[W068] log_normal_ expects std > 0.0, but found std=", std);
  fill(out, index, {Distribution::log_normal, mean, std}, key);
}

void random_any(at::Tensor& out, const GlobalIndex& index, uint64_t key) {
  integers(out, index, 0, static_cast<uint64_t>(largest_integer(out.scalar_type())) + 1, key);
}

void random_range(at::Tensor& out, const GlobalIndex& index, int64_t from, std::optional<int64_t> to, uint64_t key) {
  const at::ScalarType dtype = out.scalar_type();
  if (!to.has_value() && from == std::numeric_limits<int64_t>::lowest()) {
    TORCH_CHECK(dtype == at::kLong || dtype == at::kDouble || dtype == at::kFloat || dtype == at::kBFloat16,
                "[W068] random_full_64_bits_range_kernel_cpu handles only int64, double, float and bfloat16");
    return integers(out, index, 0, 0, key);
  }
  TORCH_CHECK(!to.has_value() || from < *to, "[W068] random_ expects 'from' to be less than 'to', but got from=", from,
              " >= to=", to.value_or(0));
  int64_t most = to.has_value() ? *to - 1 : 0;
  if (at::isFloatingType(dtype)) {
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "random_update_from_to", [&] {
      from = at::native::templates::update_from<scalar_t>(from);
      most = to.has_value() ? at::native::templates::update_to<scalar_t>(*to) - 1 : largest_integer(dtype);
    });
    TORCH_CHECK(from <= most,
                "[W068] random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, but got ",
                "from=", from, " >= to=", most + 1);
  } else if (!to.has_value() && at::isIntegralType(dtype, /*includeBool=*/true)) {
    most = largest_integer(dtype);
  }
  at::native::templates::check_from_to_in_range(from, most, out.dtype());
  integers(out, index, from, static_cast<uint64_t>(most) - static_cast<uint64_t>(from) + 1, key);
}

void poisson(at::Tensor& out, const GlobalIndex& index, const at::Tensor& rate, uint64_t key) {
  check_floating(rate.scalar_type(), "poisson_cpu");
  check_all(rate.ge(0), "invalid Poisson rate, expected rate to be non-negative");
  fill(out, index, {.distribution = Distribution::poisson, .params = {parameter(rate, out)}}, key);
}

void binomial(at::Tensor& out, const GlobalIndex& index, const at::Tensor& count, const at::Tensor& p, uint64_t key) {
  TORCH_CHECK_VALUE(at::isFloatingType(count.scalar_type()),
                    "[W068] binomial only supports floating-point dtypes for count, got: ", count.scalar_type());
  TORCH_CHECK_VALUE(at::isFloatingType(p.scalar_type()),
                    "[W068] binomial only supports floating-point dtypes for prob, got: ", p.scalar_type());
  TORCH_CHECK(count.scalar_type() == p.scalar_type(), "[W068] Found dtype ", p.scalar_type(), " but expected ",
              count.scalar_type());
  fill(out, index, {.distribution = Distribution::binomial, .params = {parameter(count, out), parameter(p, out)}}, key);
}

void gamma(at::Tensor& out, const GlobalIndex& index, const at::Tensor& alpha, uint64_t key) {
  check_floating(alpha.scalar_type(), "gamma_cpu");
  fill(out, index, {.distribution = Distribution::gamma, .params = {parameter(alpha, out)}}, key);
}

}  // namespace weft::random
