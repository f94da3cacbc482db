#pragma once
// Philox for the CPU's loops: the words of four consecutive counters at once.
#include <cstring>

#include "random/philox.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace weft::random {

constexpr int kBlockWords = 16;

// philox_block(): words[4 c + k] = philox(key, first + c).w[k] for c < 4.
#if defined(__SSE2__)
// Two counters side by side, each word in the low half of a 64-bit lane: the multiplication reads nothing else, so the
// halves above may hold anything and low and high products need no separation.
struct PhiloxPair {
  __m128i c0, c1, c2, c3;

  explicit PhiloxPair(uint64_t counter) {
    c0 = _mm_set_epi64x(static_cast<int64_t>(counter + 1), static_cast<int64_t>(counter));
    c1 = _mm_srli_epi64(c0, 32);
    c2 = c3 = _mm_setzero_si128();
  }
  void round(__m128i k0, __m128i k1) {
    const __m128i p0 = _mm_mul_epu32(c0, _mm_set1_epi64x(kPhiloxMultiplier0));
    const __m128i p1 = _mm_mul_epu32(c2, _mm_set1_epi64x(kPhiloxMultiplier1));
    c0 = _mm_xor_si128(_mm_xor_si128(_mm_srli_epi64(p1, 32), c1), k0);
    c2 = _mm_xor_si128(_mm_xor_si128(_mm_srli_epi64(p0, 32), c3), k1);
    c1 = p1;
    c3 = p0;
  }
  void store(uint32_t* words) const {
    const __m128i low = _mm_set1_epi64x(0xFFFFFFFF);
    const __m128i w01 = _mm_or_si128(_mm_and_si128(c0, low), _mm_slli_epi64(c1, 32));
    const __m128i w23 = _mm_or_si128(_mm_and_si128(c2, low), _mm_slli_epi64(c3, 32));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(words), _mm_unpacklo_epi64(w01, w23));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(words + 4), _mm_unpackhi_epi64(w01, w23));
  }
};

inline void philox_block(uint64_t key, uint64_t first, uint32_t* words) {
  PhiloxPair a(first), b(first + 2);  // two chains hide each other's multiplication latency
  __m128i k0 = _mm_set1_epi64x(static_cast<uint32_t>(key)), k1 = _mm_set1_epi64x(static_cast<int64_t>(key >> 32));
  for (int round = 0; round < 10; ++round) {
    a.round(k0, k1);
    b.round(k0, k1);
    k0 = _mm_add_epi64(k0, _mm_set1_epi64x(kPhiloxWeyl0));
    k1 = _mm_add_epi64(k1, _mm_set1_epi64x(kPhiloxWeyl1));
  }
  a.store(words);
  b.store(words + 8);
}
#else
inline void philox_block(uint64_t key, uint64_t first, uint32_t* words) {
  for (uint64_t i = 0; i < 4; ++i) {
    const Words w = philox(key, first + i);
    std::memcpy(words + 4 * i, w.w, sizeof w.w);
  }
}
#endif

}  // namespace weft::random
