#pragma once
// A copy between two memories whose elements lie in different orders, as a GPU's kernel makes it: in words of up to 16
// bytes, each found from its number alone. Without torch's headers: nvcc reads this once for each architecture.
#include <cstdint>

#ifdef __CUDACC__
#define WEFT_ON_GPU_TOO __host__ __device__
#else
#define WEFT_ON_GPU_TOO
#endif

namespace weft::comm {

/// Division of numbers below 2^31 by one that stays, without a division (Granlund and Montgomery, "Division by
/// Invariant Integers using Multiplication", 1994, figure 4.1 for 32 bits).
struct Divisor {
  uint32_t value = 1, factor = 1, shift = 0;

  Divisor() = default;
  /// `by`: 1 to 2^31 - 1.
  explicit Divisor(uint32_t by) : value(by) {
    while ((uint32_t{1} << shift) < by) ++shift;
    factor = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift) - by)) / by + 1);
  }
  WEFT_ON_GPU_TOO uint32_t quotient(uint32_t n) const {
    return (static_cast<uint32_t>((static_cast<uint64_t>(n) * factor) >> 32) + n) >> shift;
  }
};

struct StridedCopy {
  static constexpr int kMaxDims = 6;
  struct Place {
    int64_t to, from;  // in words
  };

  int dims = 0;        // of more than one word; those that can be walked as one are merged
  int width = 0;       // bytes of a word: 1, 2, 4, 8 or 16
  uint32_t words = 1;  // in all; below 2^31, as the division wants it
  // From the innermost dimension on; strides in words.
  Divisor size[kMaxDims];
  int64_t to[kMaxDims], from[kMaxDims];

  /// Where word `i` goes, and where it comes from. Words that follow each other follow each other where they go to.
  WEFT_ON_GPU_TOO Place place(uint32_t i) const {
    Place p{0, 0};
    for (int d = 0; d < dims; ++d) {
      const uint32_t next = size[d].quotient(i);
      const int64_t at = i - next * size[d].value;
      p.to += at * to[d];
      p.from += at * from[d];
      i = next;
    }
    return p;
  }
};

}  // namespace weft::comm
