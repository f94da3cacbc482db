#pragma once
// Distributions with a parameter for each element, most of them by rejection. An element's tries have counters of their
// own: philox(key, i, 2^32 + t) for its t-th draw of two 53-bit uniforms (u, v), so neither the number of tries nor the
// neighbours matter to other elements. See formulas.h for the contract.
//
//   bernoulli_each   w < p 2^32, w as in formulas.h
//   poisson          rate < 10: the first k with u <= P(X <= k), u of draw 0; else PTRS, one draw a try
//   binomial         min(p, 1-p) n < 10: inversion as above; else BTRS, one draw a try; p > 1/2: n - binomial(n, 1-p)
//   gamma            Marsaglia and Tsang; try t takes its normal from draw 2t, its uniform from u of draw 2t+1;
//                    alpha < 1: gamma(alpha + 1) v^(1/alpha), v of draw 1
//
// PTRS and BTRS: W. Hoermann, "The transformed rejection method for generating Poisson random variables" (1993) and
// "The generation of binomial random variates" (1993). G. Marsaglia, W. W. Tsang, "A simple method for generating
// gamma variables" (2000).
#include "random/formulas.h"

namespace weft::random {

struct Uniforms {
  double u, v;  // in [0, 1)
};
C10_HOST_DEVICE inline Uniforms draw_uniforms(uint64_t key, uint64_t i, uint64_t t) {
  const Words words = philox(key, i, (uint64_t{1} << 32) + t);
  return {unit53(join(words.w)), unit53(join(words.w + 2))};
}

// Every method below accepts a try with probability above 0.6; the bound only ends loops over parameters such as inf.
constexpr int kMostTries = 1000;
// Where inversion stops, as a rounded sum of probabilities need not reach u.
constexpr double kNegligible = 1e-18;

/// log k! less its Stirling approximation log sqrt(2 pi) + (k + 1/2) log(k + 1) - (k + 1).
C10_HOST_DEVICE inline double stirling_rest(double k) {
  const double table[10] = {0.08106146679532726,  0.04134069595540929, 0.02767792568499834, 0.02079067210376509,
                            0.01664469118982119,  0.01387612882307075, 0.01189670994589177, 0.01041126526197209,
                            0.009255462182712733, 0.008330563433362871};
  if (k < 10) return table[static_cast<int>(k)];
  const double n = k + 1, square = n * n;
  return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / square) / square) / n;
}

C10_HOST_DEVICE inline double sample_poisson(double rate, uint64_t key, uint64_t i) {
  if (rate < 10) {
    const double u = draw_uniforms(key, i, 0).u;
    double k = 0, probability = std::exp(-rate), sum = probability;
    while (u > sum && probability > kNegligible) {
      k += 1;
      probability *= rate / k;
      sum += probability;
    }
    return k;
  }
  const double log_rate = std::log(rate);
  const double b = 0.931 + 2.53 * std::sqrt(rate), a = -0.059 + 0.02483 * b;
  const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4), inner = 0.9277 - 3.6224 / (b - 2);
  for (int t = 0; t < kMostTries; ++t) {
    const Uniforms draw = draw_uniforms(key, i, t);
    const double u = draw.u - 0.5, v = draw.v, us = 0.5 - std::fabs(u);
    const double k = std::floor((2 * a / us + b) * u + rate + 0.43);
    if (us >= 0.07 && v <= inner) return k;
    if (!(k >= 0) || (us < 0.013 && v > us)) continue;
    const double log_factorial = 0.9189385332046727 + (k + 0.5) * std::log(k + 1) - (k + 1) + stirling_rest(k);
    if (std::log(v * inverse_alpha / (a / (us * us) + b)) <= k * log_rate - rate - log_factorial) return k;
  }
  return std::floor(rate);
}

/// p <= 1/2
C10_HOST_DEVICE inline double sample_lesser_binomial(double n, double p, uint64_t key, uint64_t i) {
  const double odds = p / (1 - p);
  if (n * p < 10) {
    const double u = draw_uniforms(key, i, 0).u;
    double k = 0, probability = std::exp(n * std::log1p(-p)), sum = probability;
    while (u > sum && k < n && probability > kNegligible) {
      probability *= odds * (n - k) / (k + 1);
      k += 1;
      sum += probability;
    }
    return k;
  }
  const double deviation = std::sqrt(n * p * (1 - p));
  const double b = 1.15 + 2.53 * deviation, a = -0.0873 + 0.0248 * b + 0.01 * p;
  const double alpha = (2.83 + 5.1 / b) * deviation, inner = 0.92 - 4.2 / b, mode = std::floor((n + 1) * p);
  for (int t = 0; t < kMostTries; ++t) {
    const Uniforms draw = draw_uniforms(key, i, t);
    const double u = draw.u - 0.5, v = draw.v, us = 0.5 - std::fabs(u);
    const double k = std::floor((2 * a / us + b) * u + n * p + 0.5);
    if (us >= 0.07 && v <= inner) return k;
    if (!(k >= 0 && k <= n)) continue;
    const double bound = (mode + 0.5) * std::log((mode + 1) / (odds * (n - mode + 1))) +
                         (n + 1) * std::log((n - mode + 1) / (n - k + 1)) +
                         (k + 0.5) * std::log(odds * (n - k + 1) / (k + 1)) + stirling_rest(mode) +
                         stirling_rest(n - mode) - stirling_rest(k) - stirling_rest(n - k);
    if (std::log(v * alpha / (a / (us * us) + b)) <= bound) return k;
  }
  return mode;
}

C10_HOST_DEVICE inline double sample_binomial(double n, double p, uint64_t key, uint64_t i) {
  if (n != n || p != p) return n + p;
  if (n <= 0 || p <= 0) return 0;
  if (p >= 1) return n;
  return p <= 0.5 ? sample_lesser_binomial(n, p, key, i) : n - sample_lesser_binomial(n, 1 - p, key, i);
}

C10_HOST_DEVICE inline double sample_gamma(double alpha, uint64_t key, uint64_t i) {
  if (alpha == 0) return 0;
  const double scale = alpha < 1 ? std::pow(1 - draw_uniforms(key, i, 1).v, 1 / alpha) : 1.0;
  const double d = (alpha < 1 ? alpha + 1 : alpha) - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (int t = 0; t < kMostTries; ++t) {
    const Uniforms draw = draw_uniforms(key, i, 2 * t);
    const double x = std::sqrt(-2 * std::log(1 - draw.u)) * std::cos(6.283185307179586476925 * draw.v);
    const double root = 1 + c * x, v = root * root * root;
    if (root <= 0) continue;
    const double u = 1 - draw_uniforms(key, i, 2 * t + 1).u;
    if (std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return scale * d * v;
  }
  return alpha;
}

// Each of the following gives the value of element i from `params` parameters.

template <class T>
struct BernoulliEach {
  using type = T;
  static constexpr int params = 1;
  C10_HOST_DEVICE T operator()(uint64_t key, uint64_t i, double p, double) const {
    return static_cast<T>(static_cast<int>(static_cast<double>(philox(key, i / 4).w[i % 4]) < p * 0x1p32));
  }
};
template <class T>
struct Poisson {
  using type = T;
  static constexpr int params = 1;
  C10_HOST_DEVICE T operator()(uint64_t key, uint64_t i, double rate, double) const {
    return static_cast<T>(sample_poisson(rate, key, i));
  }
};
template <class T>
struct Binomial {
  using type = T;
  static constexpr int params = 2;
  C10_HOST_DEVICE T operator()(uint64_t key, uint64_t i, double count, double p) const {
    return static_cast<T>(sample_binomial(count, p, key, i));
  }
};
template <class T>
struct Gamma {
  using type = T;
  static constexpr int params = 1;
  C10_HOST_DEVICE T operator()(uint64_t key, uint64_t i, double alpha, double) const {
    const double x = sample_gamma(alpha, key, i), least = static_cast<double>(std::numeric_limits<T>::min());
    return static_cast<T>(x < least ? least : x);
  }
};

}  // namespace weft::random
