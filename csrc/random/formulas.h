#pragma once
// The stable contract of counter mode: which words make which value. Changing a formula changes every user's seeds.
//
//   Value i is that of the element with global row-major index i, whatever the layout, strides or device of the shard.
//   W(c) = philox(key, c): the four words w[0..3] of counter c.
//   w    = W(i/4)[i%4]                                     one 32-bit word for each value
//   d    = W(i/2)[2(i%2)] + 2^32 W(i/2)[2(i%2)+1]          one 64-bit word for each value
//   A complex element is the two values 2i (real) and 2i+1 (imaginary).
//
//   uniform(from, to)   from + u (to - from), computed in float (double for double), then from if rounding reached to;
//                       u = the top D bits of w (of d for double) / 2^D, D = digits of the type: 24, 53, 11, 8
//   normal(mean, std)   Box-Muller on the pair of elements (i & ~1, i | 1): its r cos(a) is the even element's,
//                       r sin(a) the odd one's. float, half, bfloat16: the two words x, y of the pair's elements,
//                       r = sqrt(-2 log((floor(x/2) + 1/2) / 2^31)), a = y / 2^32 turns to 26 bits (+ 1/8 turn).
//                       double: x, y the pair's two 64-bit words, r = sqrt(-2 log((floor(x/2^11) + 1) / 2^53)),
//                       a = floor(y/2^11) / 2^53 turns
//   log_normal          exp(normal)
//   bernoulli(p)        w < p 2^32, also where p is a tensor
//   exponential(l)      max(-log(u), e) / l, at least the type's smallest positive number; u, e: float, half, bfloat16
//                       (floor(w/2) + 1/2) / 2^31, 2^-26; double (floor(d/2^11) + 1) / 2^53, 2^-54
//   cauchy              median + sigma tan(pi (u - 1/2)), in double; u = (w + 1/2) / 2^32;
//                       double: (floor(d/2^12) + 1/2) / 2^52
//   geometric(p)        max(1, ceil(log(u) / log1p(-p))), in double; u = (floor(d/2^11) + 1) / 2^53
//   integers            base + floor(d range / 2^64); range 2^64: d itself
//   poisson, binomial, gamma: rejection.h
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "random/philox.h"

namespace weft::random {

template <class T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;
template <class T>
constexpr bool kIsDouble = std::is_same_v<T, double>;

C10_HOST_DEVICE inline uint64_t join(const uint32_t* w) { return w[0] | uint64_t{w[1]} << 32; }
/// The top 53 bits, in [0, 1) and in (0, 1].
C10_HOST_DEVICE inline double unit53(uint64_t d) { return static_cast<double>(d >> 11) * 0x1p-53; }
C10_HOST_DEVICE inline double unit53_positive(uint64_t d) { return static_cast<double>((d >> 11) + 1) * 0x1p-53; }
/// A number in (0, 1]. It goes through a signed integer, as no vector unit converts unsigned ones.
C10_HOST_DEVICE inline float unit31_positive(uint32_t w) {
  return static_cast<float>(static_cast<int32_t>(w >> 1)) * 0x1p-31f + 0x1p-32f;
}

/// log(x) of a positive normal x to one ulp, by the polynomial of Cephes' logf. Free of branches, hence vectorised, and
/// the same on every libm.
C10_HOST_DEVICE inline float log_positive(float x) {
  constexpr uint32_t kOne = 0x3F800000u, kRootHalf = 0x3F3504F3u;
  const uint32_t bits = std::bit_cast<uint32_t>(x) + (kOne - kRootHalf);
  const float e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 127);
  const float f = std::bit_cast<float>((bits & 0x007FFFFFu) + kRootHalf) - 1.0f;
  const float z = f * f;
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  const float tail = f * z * p - 2.12194440e-4f * e - 0.5f * z;  // log 2 in two parts
  return f + tail + 0.693359375f * e;
}

/// A point on the circle of radius r. The two top bits choose the quadrant, 24 more the angle from its middle axis.
C10_HOST_DEVICE inline void on_circle(float r, uint32_t w, float& x, float& y) {
  const float a = static_cast<float>(static_cast<int32_t>(w << 2) >> 8) * (0x1p-23f * 0.785398163397448309616f);
  const float z = a * a;
  const float sine = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * a + a;
  const float cosine =
      ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
  const uint32_t quadrant = w >> 30;
  uint32_t s = std::bit_cast<uint32_t>(sine), c = std::bit_cast<uint32_t>(cosine);
  const uint32_t swap = (s ^ c) & (0u - (quadrant & 1u));
  s ^= swap ^ (quadrant >> 1) << 31;
  c ^= swap ^ (quadrant ^ quadrant >> 1) << 31;
  x = r * std::bit_cast<float>(c);
  y = r * std::bit_cast<float>(s);
}

C10_HOST_DEVICE inline void standard_normal_pair(const uint32_t* w, float& x, float& y) {
  on_circle(std::sqrt(-2.0f * log_positive(unit31_positive(w[0]))), w[1], x, y);
}
C10_HOST_DEVICE inline void standard_normal_pair(const uint32_t* w, double& x, double& y) {
  const double r = std::sqrt(-2.0 * std::log(unit53_positive(join(w))));
  const double angle = 6.283185307179586476925 * unit53(join(w + 2));
  x = r * std::cos(angle);
  y = r * std::sin(angle);
}

// Each of the following turns `words` words into `values` values; four words are one counter.

template <class T>
struct Uniform {
  using type = T;
  static constexpr int words = kIsDouble<T> ? 2 : 1, values = 1;
  Compute<T> from, range, high;
  T low;

  Uniform(double from_, double to)
      : from(static_cast<Compute<T>>(from_)),
        range(static_cast<Compute<T>>(to - from_)),
        high(static_cast<Compute<T>>(static_cast<T>(to))),
        low(static_cast<T>(from_)) {}
  C10_HOST_DEVICE void operator()(const uint32_t* w, T* value) const {
    Compute<T> u;
    if constexpr (kIsDouble<T>) {
      u = unit53(join(w));
    } else {
      constexpr int kDigits = std::numeric_limits<T>::digits;
      u = static_cast<float>(static_cast<int32_t>(w[0] >> (32 - kDigits))) * (1.0f / static_cast<float>(1 << kDigits));
    }
    const T x = static_cast<T>(u * range + from);
    *value = static_cast<Compute<T>>(x) < high ? x : low;
  }
};

template <class T>
struct Normal {
  using type = T;
  static constexpr int words = kIsDouble<T> ? 4 : 2, values = 2;
  Compute<T> mean, std;

  C10_HOST_DEVICE void operator()(const uint32_t* w, T* value) const {
    Compute<T> x, y;
    standard_normal_pair(w, x, y);
    value[0] = static_cast<T>(x * std + mean);
    value[1] = static_cast<T>(y * std + mean);
  }
};

template <class T>
struct LogNormal {
  using type = T;
  static constexpr int words = Normal<T>::words, values = 2;
  Compute<T> mean, std;

  C10_HOST_DEVICE void operator()(const uint32_t* w, T* value) const {
    Compute<T> x, y;
    standard_normal_pair(w, x, y);
    value[0] = static_cast<T>(std::exp(x * std + mean));
    value[1] = static_cast<T>(std::exp(y * std + mean));
  }
};

template <class T>
struct Bernoulli {
  using type = T;
  static constexpr int words = 1, values = 1;
  uint32_t last;  // the largest word that is a success
  bool any;

  explicit Bernoulli(double p)
      : last(static_cast<uint32_t>(static_cast<uint64_t>(std::ceil(p * 0x1p32)) - 1)), any(p > 0) {}
  C10_HOST_DEVICE void operator()(const uint32_t* w, T* value) const {
    *value = static_cast<T>(static_cast<int>(*w <= last) & static_cast<int>(any));
  }
};

template <class T>
struct Exponential {
  using type = T;
  static constexpr int words = kIsDouble<T> ? 2 : 1, values = 1;
  Compute<T> scale;
  T smallest;  // as code divides by these values; zero only where the rate is infinite

  explicit Exponential(double lambda) : scale(static_cast<Compute<T>>(1 / lambda)), smallest(static_cast<T>(0.0f)) {
    if (std::isfinite(lambda)) {
      smallest = std::is_same_v<T, c10::Half> ? std::numeric_limits<T>::denorm_min() : std::numeric_limits<T>::min();
    }
  }
  C10_HOST_DEVICE void operator()(const uint32_t* w, T* value) const {
    Compute<T> e;
    if constexpr (kIsDouble<T>) {
      e = -std::log(unit53_positive(join(w)));
      e = e > 0x1p-54 ? e : 0x1p-54;
    } else {
      e = -log_positive(unit31_positive(w[0]));
      e = e > 0x1p-26f ? e : 0x1p-26f;
    }
    const T x = static_cast<T>(e * scale);
    *value = static_cast<Compute<T>>(x) > static_cast<Compute<T>>(smallest) ? x : smallest;
  }
};

template <class T>
struct Cauchy {
  using type = T;
  static constexpr int words = kIsDouble<T> ? 2 : 1, values = 1;
  double median, sigma;

  C10_HOST_DEVICE void operator()(const uint32_t* w, T* value) const {
    double u;
    if constexpr (kIsDouble<T>) {
      u = (static_cast<double>(join(w) >> 12) + 0.5) * 0x1p-52;
    } else {
      u = (static_cast<double>(w[0]) + 0.5) * 0x1p-32;
    }
    *value = static_cast<T>(median + sigma * std::tan(3.14159265358979323846 * (u - 0.5)));
  }
};

template <class T>
struct Geometric {
  using type = T;
  static constexpr int words = 2, values = 1;
  double log_failure;  // log1p(-p)

  C10_HOST_DEVICE void operator()(const uint32_t* w, T* value) const {
    double trials = std::ceil(std::log(unit53_positive(join(w))) / log_failure);
    trials = trials > 1 ? trials : 1;
    if constexpr (std::is_integral_v<T>) {
      constexpr T kMax = std::numeric_limits<T>::max();
      *value = trials < static_cast<double>(kMax) ? static_cast<T>(trials) : kMax;
    } else {
      *value = static_cast<T>(trials);
    }
  }
};

template <class T>
struct Integers {
  using type = T;
  static constexpr int words = 2, values = 1;
  int64_t base;
  uint64_t range;  // 0: 2^64

  C10_HOST_DEVICE void operator()(const uint32_t* w, T* value) const {
    const uint64_t d = join(w);
    const auto scaled = static_cast<uint64_t>(static_cast<unsigned __int128>(d) * range >> 64);
    *value = static_cast<T>(static_cast<int64_t>(static_cast<uint64_t>(base) + (range == 0 ? d : scaled)));
  }
};

}  // namespace weft::random
