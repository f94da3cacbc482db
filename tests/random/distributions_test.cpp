// Each op draws from its distribution, keeps to its range, and refuses what torch refuses. Keys are fixed, so these
// bounds (five standard errors, Kolmogorov-Smirnov at 1e-6) either hold or not.
#include <ATen/core/dispatch/Dispatcher.h>

#include <cmath>
#include <limits>

#include "random/fixture.h"

namespace weft::random {
namespace {

using namespace testing;

constexpr int64_t kCount = 1 << 17;
using Cdf = std::function<double(double)>;

/// The largest distance between the cumulated values and the distribution; for a discrete one at its steps only.
double distance(const at::Tensor& values, const Cdf& cdf, bool discrete) {
  const at::Tensor sorted = std::get<0>(values.to(at::kDouble).sort());
  const double* x = sorted.const_data_ptr<double>();
  const auto n = static_cast<double>(sorted.numel());
  double most = 0;
  for (int64_t i = 0; i < sorted.numel(); ++i) {
    const bool last_of_step = i + 1 == sorted.numel() || x[i + 1] != x[i];
    if (last_of_step) most = std::max(most, std::abs((i + 1) / n - cdf(x[i])));
    if (!discrete) most = std::max(most, std::abs(i / n - cdf(x[i])));
  }
  return most;
}

void expect_distribution(const Op& op, const Cdf& cdf, bool discrete = false, double resolution = 0) {
  const at::Tensor values = run_whole(op, {kCount});
  EXPECT_LT(distance(values, cdf, discrete), 2.7 / std::sqrt(static_cast<double>(kCount)) + resolution) << label(op);
}

void expect_moments(const at::Tensor& values, double mean, double variance, const std::string& what) {
  const at::Tensor x = values.to(at::kDouble);
  const auto n = static_cast<double>(x.numel());
  const at::Tensor squares = (x - mean).square();
  EXPECT_NEAR(x.mean().item<double>(), mean, 5 * std::sqrt(variance / n)) << what;
  EXPECT_NEAR(squares.mean().item<double>(), variance, 5 * squares.std().item<double>() / std::sqrt(n)) << what;
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

TEST(RandomDistributions, Uniform) {
  const Cdf cdf = [](double x) { return std::clamp((x + 2) / 5, 0.0, 1.0); };
  expect_distribution({"uniform_", "", {-2.0, 3.0}}, cdf);
  expect_distribution({"uniform_", "", {-2.0, 3.0}, at::kDouble}, cdf);
  expect_distribution({"uniform_", "", {-2.0, 3.0}, at::kHalf}, cdf, false, 1e-3);
  expect_distribution({"uniform_", "", {-2.0, 3.0}, at::kBFloat16}, cdf, false, 8e-3);
  expect_distribution({"rand_like", "", {}}, [](double x) { return x; });
  for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    for (const double from : {0.0, 1.0, 100.0}) {
      const at::Tensor values = run_whole({"uniform_", "", {from, from + 1}, dtype}, {kCount});
      EXPECT_TRUE(values.ge(from).all().item<bool>()) << dtype << from;
      EXPECT_TRUE(values.lt(from + 1).all().item<bool>()) << dtype << from;
    }
    EXPECT_TRUE(run_whole({"uniform_", "", {2.0, 2.0}, dtype}, {9}).eq(2).all().item<bool>());
  }
}

TEST(RandomDistributions, Normal) {
  const Cdf cdf = [](double x) { return normal_cdf((x - 1) / 2); };
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const Op op = {"normal_", "", {1.0, 2.0}, dtype};
    expect_distribution(op, cdf);
    expect_moments(run_whole(op, {kCount}), 1, 4, label(op));
    // Both members of the pairs on their own, and the tails.
    const at::Tensor z = (run_whole(op, {1 << 22}).to(at::kDouble) - 1) / 2;
    expect_moments(z.slice(0, 0, z.numel(), 2), 0, 1, "even");
    expect_moments(z.slice(0, 1, z.numel(), 2), 0, 1, "odd");
    const double beyond = z.abs().gt(4).to(at::kDouble).mean().item<double>();
    EXPECT_NEAR(beyond, 2 * normal_cdf(-4), 5 * std::sqrt(2 * normal_cdf(-4) / (1 << 22)));
  }
  expect_distribution({"normal_", "", {1.0, 2.0}, at::kHalf}, cdf, false, 1e-3);
  expect_distribution({"normal_", "", {1.0, 2.0}, at::kBFloat16}, cdf, false, 8e-3);
  expect_distribution({"randn_like", "", {}}, normal_cdf);
  const at::Tensor complex = run_whole({"normal_", "", {0.0, 1.0}, at::kComplexFloat}, {kCount});
  expect_moments(at::view_as_real(complex).flatten(), 0, 0.5, "complex");
  EXPECT_TRUE(run_whole({"normal_", "", {3.0, 0.0}}, {9}).eq(3).all().item<bool>());
}

TEST(RandomDistributions, NormalOfTensors) {
  const at::Tensor mean = at::linspace(-5, 5, 4).view({4, 1}), std = at::linspace(0, 3, 4).view({4, 1});
  const at::Tensor z = run_whole({"randn_like", "", {}}, {4, 1000});
  const auto made = [&](const char* overload, std::vector<c10::IValue> args) {
    at::Tensor out = at::empty({4, 1000});
    find_sampler({"aten::normal", overload})->fill(out, whole_index({4, 1000}), args, kKey);
    return out;
  };
  EXPECT_TRUE(at::allclose(made("Tensor_float", {mean, 2.0}), z * 2 + mean));
  EXPECT_TRUE(at::allclose(made("float_Tensor", {1.5, std}), z * std + 1.5));
  EXPECT_TRUE(at::allclose(made("Tensor_Tensor", {mean, std}), z * std + mean));
  EXPECT_THROW(made("Tensor_Tensor", {mean, -std}), c10::Error);
  EXPECT_THROW(made("Tensor_float", {mean, -1.0}), c10::Error);
}

TEST(RandomDistributions, Bernoulli) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBool, at::kHalf, at::kLong, at::kDouble}) {
    for (const double p : {0.0, 0.1, 0.5, 0.999, 1.0}) {
      const at::Tensor values = run_whole({"bernoulli_", "float", {p}, dtype}, {kCount}).to(at::kDouble);
      EXPECT_TRUE(values.eq(0).logical_or(values.eq(1)).all().item<bool>());
      EXPECT_NEAR(values.mean().item<double>(), p, 5 * std::sqrt(p * (1 - p) / kCount)) << dtype << p;
    }
  }
  // A tensor of equal probabilities is the scalar.
  const at::Tensor half = at::full({kCount}, 0.25);
  EXPECT_TRUE(at::equal(run_whole({"bernoulli_", "Tensor", {half}}, {kCount}),
                        run_whole({"bernoulli_", "float", {0.25}}, {kCount})));
  at::Tensor self = at::full({kCount}, 0.25);
  run({"bernoulli", "out", {}}, self, whole_index({kCount}));
  EXPECT_TRUE(at::equal(self, run_whole({"bernoulli_", "float", {0.25}}, {kCount})));
}

TEST(RandomDistributions, ContinuousOnes) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    expect_distribution({"exponential_", "", {1.5}, dtype}, [](double x) { return -std::expm1(-1.5 * x); });
    expect_distribution({"cauchy_", "", {1.0, 2.0}, dtype},
                        [](double x) { return 0.5 + std::atan((x - 1) / 2) / M_PI; });
    expect_distribution({"log_normal_", "", {0.5, 0.7}, dtype},
                        [](double x) { return normal_cdf((std::log(x) - 0.5) / 0.7); });
  }
  for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    for (const double lambda : {1.0, 1e4}) {
      const at::Tensor values = run_whole({"exponential_", "", {lambda}, dtype}, {1 << 20});
      EXPECT_TRUE(values.gt(0).all().item<bool>()) << dtype;
      EXPECT_TRUE(values.isfinite().all().item<bool>()) << dtype;
    }
  }
  EXPECT_TRUE(run_whole({"exponential_", "", {HUGE_VAL}}, {9}).eq(0).all().item<bool>());
}

TEST(RandomDistributions, Geometric) {
  const Cdf cdf = [](double k) { return 1 - std::pow(0.8, k); };
  expect_distribution({"geometric_", "", {0.2}}, cdf, true);
  expect_distribution({"geometric_", "", {0.2}, at::kInt}, cdf, true);
  const at::Tensor rare = run_whole({"geometric_", "", {1e-4}, at::kChar}, {1000});
  EXPECT_TRUE(rare.ge(1).all().item<bool>());
}

TEST(RandomDistributions, Integers) {
  const auto uniform_over = [](double low, double high) {
    return [=](double k) { return (k - low + 1) / (high - low + 1); };
  };
  expect_distribution({"random_", "from", {int64_t{-5}, int64_t{12}}, at::kShort}, uniform_over(-5, 11), true);
  expect_distribution({"random_", "to", {int64_t{7}}}, uniform_over(0, 6), true);
  expect_distribution({"randint_like", "", {int64_t{100}}, at::kLong}, uniform_over(0, 99), true);
  expect_distribution({"randint_like", "Tensor", {at::tensor(100)}, at::kLong}, uniform_over(0, 99), true);
  expect_distribution({"randint_like", "low_dtype", {int64_t{3}, int64_t{9}}}, uniform_over(3, 8), true);
  expect_distribution({"random_", "", {}, at::kBool}, uniform_over(0, 1), true);
  expect_distribution({"random_", "", {}, at::kByte}, uniform_over(0, 255), true);
  expect_distribution({"random_", "", {}, at::kChar}, uniform_over(0, 127), true);
  expect_distribution({"random_", "", {}, at::kBFloat16}, uniform_over(0, 256), true);
  expect_distribution({"random_", "", {}, at::kHalf}, uniform_over(0, 2048), true);
  expect_distribution({"random_", "", {}}, uniform_over(0, 0x1p24), true);
  expect_distribution({"random_", "", {}, at::kLong}, uniform_over(0, 0x1p63), true);
  expect_distribution({"random_", "from", {int64_t{0}, c10::IValue()}, at::kInt}, uniform_over(0, 0x1p31), true);
  const int64_t lowest = std::numeric_limits<int64_t>::lowest();
  expect_distribution({"random_", "from", {lowest, c10::IValue()}, at::kLong}, uniform_over(-0x1p63, 0x1p63), true);
  const at::Tensor wide = run_whole({"random_", "from", {lowest, int64_t{1} << 62}, at::kLong}, {kCount});
  EXPECT_LT(wide.max().item<int64_t>(), int64_t{1} << 62);
  EXPECT_LT(run_whole({"random_", "to", {int64_t{65504}}, at::kHalf}, {kCount}).max().item<double>(), 65504);
}

TEST(RandomDistributions, Poisson) {
  for (const double rate : {0.0, 0.3, 4.0, 9.9, 10.0, 25.0, 1000.0}) {
    at::Tensor values = at::full({kCount}, rate);
    run({"poisson", "", {}}, values, whole_index({kCount}));
    const Cdf cdf = [rate](double k) {
      double sum = 0;
      for (double j = std::max(0.0, k - 400); j <= k; ++j)
        sum += std::exp(j * std::log(rate) - rate - std::lgamma(j + 1));
      return sum;
    };
    expect_moments(values, rate, rate, "poisson " + std::to_string(rate));
    if (rate == 0) continue;
    EXPECT_LT(distance(values, cdf, true), 2.7 / std::sqrt(static_cast<double>(kCount))) << rate;
  }
}

TEST(RandomDistributions, Binomial) {
  const std::vector<std::pair<double, double>> cases = {{5, 0.5},   {40, 0.2},   {40, 0.7},
                                                        {100, 0.5}, {3000, 0.9}, {1e6, 1e-6}};
  for (const auto& [n, p] : cases) {
    at::Tensor values = at::empty({kCount});
    find_sampler({"aten::binomial", ""})
        ->fill(values, whole_index({kCount}), {at::full({kCount}, n), at::full({kCount}, p)}, kKey);
    const std::string what = "binomial " + std::to_string(n) + " " + std::to_string(p);
    expect_moments(values, n * p, n * p * (1 - p), what);
    const Cdf cdf = [n = n, p = p](double k) {
      double sum = 0;
      for (double j = std::max(0.0, k - 400); j <= k; ++j) {
        sum += std::exp(std::lgamma(n + 1) - std::lgamma(j + 1) - std::lgamma(n - j + 1) + j * std::log(p) +
                        (n - j) * std::log1p(-p));
      }
      return sum;
    };
    EXPECT_LT(distance(values, cdf, true), 2.7 / std::sqrt(static_cast<double>(kCount))) << what;
  }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  at::Tensor edges = at::empty({5});
  find_sampler({"aten::binomial", ""})
      ->fill(edges, whole_index({5}), {at::tensor({5., 5., -1., 5., nan}), at::tensor({0., 1., .5, nan, .5})}, kKey);
  EXPECT_TRUE(at::equal(edges.slice(0, 0, 3), at::tensor({0.f, 5.f, 0.f})));
  EXPECT_TRUE(edges.slice(0, 3).isnan().all().item<bool>());
}

TEST(RandomDistributions, Gamma) {
  for (const double alpha : {0.05, 0.5, 1.0, 3.0, 200.0}) {
    at::Tensor values = at::full({kCount}, alpha, at::kDouble);
    run({"_standard_gamma", "", {}, at::kDouble}, values, whole_index({kCount}));
    EXPECT_TRUE(values.gt(0).all().item<bool>());
    expect_moments(values, alpha, alpha, "gamma " + std::to_string(alpha));
    if (alpha == 1.0) {
      EXPECT_LT(distance(values, [](double x) { return -std::expm1(-x); }, false), 2.7 / std::sqrt(1.0 * kCount));
    }
  }
}

void expect_refused(const Op& op, const std::string& message) {
  try {
    run_whole(op, {4});
    ADD_FAILURE() << label(op) << " accepted its arguments";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what_without_backtrace()).find(message), std::string::npos)
        << error.what_without_backtrace();
  }
}

TEST(RandomRefusals, AreThoseOfTorch) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double p : {-0.1, 1.1, nan}) {
    expect_refused({"bernoulli_", "float", {p}}, "bernoulli_ expects p to be in [0, 1], but got p=");
    expect_refused({"bernoulli_", "Tensor", {at::full({4}, p)}}, "Expected p_in >= 0 && p_in <= 1");
  }
  expect_refused({"bernoulli_", "Tensor", {at::ones({4}, at::kLong)}}, "not implemented for 'Long'");
  expect_refused({"uniform_", "", {1.0, 0.0}},
                 "uniform_ expects to return a [from, to) range, but found from=1 > to=0");
  expect_refused({"uniform_", "", {0.0, 1e5}, at::kHalf}, "to is out of bounds for c10::Half");
  expect_refused({"uniform_", "", {0.0, 1.0}, at::kLong}, "not implemented for 'Long'");
  expect_refused({"normal_", "", {0.0, -1.0}}, "normal expects std >= 0.0, but found std -1");
  expect_refused({"exponential_", "", {0.0}}, "exponential_ expects lambda > 0.0, but found lambda=0");
  expect_refused({"exponential_", "", {1.0}, at::kInt}, "Exponential distribution is a continuous probability");
  expect_refused({"geometric_", "", {1.0}}, "geometric_ expects p to be in (0, 1), but got p=1");
  expect_refused({"cauchy_", "", {0.0, 0.0}}, "cauchy_ expects sigma > 0.0, but found sigma=0");
  expect_refused({"log_normal_", "", {0.0, 0.0}}, "log_normal_ expects std > 0.0, but found std=0");
  expect_refused({"random_", "from", {int64_t{2}, int64_t{2}}},
                 "random_ expects 'from' to be less than 'to', but got from=2 >= to=2");
  expect_refused({"random_", "to", {int64_t{300}}, at::kByte}, "to - 1 is out of bounds for unsigned char");
  expect_refused({"randint_like", "", {int64_t{70000}}, at::kHalf}, "to - 1 is out of bounds for c10::Half");
  expect_refused({"randint_like", "Tensor", {at::ones({2})}}, "high must be a scalar tensor and on CPU");
  expect_refused({"random_", "", {}, at::kComplexFloat}, "not implemented for 'ComplexFloat'");
  at::Tensor negative = at::full({4}, -1.0);
  EXPECT_THROW(run({"poisson", "", {}}, negative, whole_index({4})), c10::Error);
  EXPECT_EQ(find_sampler({"aten::add", "Tensor"}), nullptr);
}

TEST(RandomRefusals, ComeForEmptyShardsToo) {  // as every rank must raise
  at::Tensor shard = at::zeros({0});
  EXPECT_THROW(run({"bernoulli_", "float", {2.0}}, shard, {{4}, {{}}}), c10::Error);
  EXPECT_THROW(run({"random_", "to", {int64_t{0}}}, shard, {{4}, {{}}}), c10::Error);
}

TEST(RandomSamplers, GeneratorIsWhereTheSchemaHasIt) {
  int found = 0;
  for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
    const Sampler* sampler = find_sampler(name);
    if (sampler == nullptr) continue;
    ++found;
    const auto schema = c10::Dispatcher::singleton().findSchema(name)->schema();
    EXPECT_EQ(sampler->generator, schema.argumentIndexWithName("generator").value_or(-1)) << name;
  }
  EXPECT_GE(found, 60);
}

}  // namespace
}  // namespace weft::random
