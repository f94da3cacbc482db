#pragma once
// A draw is what a random op fills its result with: a distribution and its parameters.
#include <ATen/Dispatch.h>
#include <ATen/Dispatch_v2.h>

#include "random/random.h"
#include "random/rejection.h"

namespace weft::random {

enum class Distribution {
  uniform,         // a, b: from, to
  normal,          // a, b: mean, std
  log_normal,      // a, b: mean, std
  bernoulli,       // a: p
  exponential,     // a: lambda
  cauchy,          // a, b: median, sigma
  geometric,       // a: p
  integers,        // base, range
  bernoulli_each,  // params: p
  poisson,         // params: rate
  binomial,        // params: count, p
  gamma,           // params: alpha
};

struct Draw {
  Distribution distribution;
  double a = 0, b = 1;
  int64_t base = 0;
  uint64_t range = 0;                   // 0: 2^64
  std::vector<at::Tensor> params = {};  // double, of the shard's sizes (any strides)
};

/// Fills the shard, on any device that has kernels; real dtypes only. Parameters are checked by the caller.
void fill(const at::Tensor& out, const GlobalIndex& index, const Draw& draw, uint64_t key);

/// Calls visitor with the formula object of the draw for a dtype, e.g. Normal<float>{...}.
template <class Visitor>
void visit(const Draw& draw, at::ScalarType dtype, const Visitor& visitor) {
  using at::ScalarType;
  const double a = draw.a, b = draw.b;
  switch (draw.distribution) {
    case Distribution::uniform:
      return AT_DISPATCH_FLOATING_TYPES_AND2(ScalarType::Half, ScalarType::BFloat16, dtype, "uniform_kernel",
                                             [&] { visitor(Uniform<scalar_t>(a, b)); });
    case Distribution::normal:
      return AT_DISPATCH_FLOATING_TYPES_AND2(ScalarType::Half, ScalarType::BFloat16, dtype, "normal_kernel", [&] {
        visitor(Normal<scalar_t>{static_cast<Compute<scalar_t>>(a), static_cast<Compute<scalar_t>>(b)});
      });
    case Distribution::log_normal:
      return AT_DISPATCH_FLOATING_TYPES_AND2(ScalarType::Half, ScalarType::BFloat16, dtype, "log_normal", [&] {
        visitor(LogNormal<scalar_t>{static_cast<Compute<scalar_t>>(a), static_cast<Compute<scalar_t>>(b)});
      });
    case Distribution::bernoulli:
      return AT_DISPATCH_ALL_TYPES_AND3(ScalarType::Bool, ScalarType::Half, ScalarType::BFloat16, dtype,
                                        "bernoulli_scalar", [&] { visitor(Bernoulli<scalar_t>(a)); });
    case Distribution::exponential:
      return AT_DISPATCH_FLOATING_TYPES_AND2(ScalarType::Half, ScalarType::BFloat16, dtype, "exponential",
                                             [&] { visitor(Exponential<scalar_t>(a)); });
    case Distribution::cauchy:
      return AT_DISPATCH_FLOATING_TYPES_AND2(ScalarType::Half, ScalarType::BFloat16, dtype, "cauchy",
                                             [&] { visitor(Cauchy<scalar_t>{a, b}); });
    case Distribution::geometric:
      return AT_DISPATCH_ALL_TYPES_AND2(ScalarType::Half, ScalarType::BFloat16, dtype, "geometric",
                                        [&] { visitor(Geometric<scalar_t>{std::log1p(-a)}); });
    case Distribution::integers:
      return AT_DISPATCH_V2(dtype, "random", AT_WRAP([&] { visitor(Integers<scalar_t>{draw.base, draw.range}); }),
                            AT_EXPAND(AT_ALL_TYPES), AT_EXPAND(AT_BAREBONES_UNSIGNED_TYPES), at::kBool, at::kHalf,
                            at::kBFloat16);
    case Distribution::bernoulli_each:
      return AT_DISPATCH_ALL_TYPES_AND3(ScalarType::Bool, ScalarType::Half, ScalarType::BFloat16, dtype,
                                        "bernoulli_tensor", [&] { visitor(BernoulliEach<scalar_t>{}); });
    case Distribution::poisson:
      return AT_DISPATCH_FLOATING_TYPES_AND2(ScalarType::Half, ScalarType::BFloat16, dtype, "poisson",
                                             [&] { visitor(Poisson<scalar_t>{}); });
    case Distribution::binomial:
      return AT_DISPATCH_FLOATING_TYPES_AND2(ScalarType::Half, ScalarType::BFloat16, dtype, "binomial",
                                             [&] { visitor(Binomial<scalar_t>{}); });
    case Distribution::gamma:
      return AT_DISPATCH_FLOATING_TYPES_AND2(ScalarType::Half, ScalarType::BFloat16, dtype, "gamma",
                                             [&] { visitor(Gamma<scalar_t>{}); });
  }
}

}  // namespace weft::random
