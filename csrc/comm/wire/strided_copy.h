#pragma once
// A copy between two memories whose elements lie in different orders, as a GPU's kernel makes it: in words of up to 16
// bytes, each found from its number alone. Without torch's headers but for its fast division: nvcc reads this once for
// each architecture.
#include <cstddef>
#include <cstdint>

// clang-format off: the second one needs the first
#include <c10/macros/Macros.h>
#include <ATen/cuda/detail/IntegerDivider.cuh>
// clang-format on

namespace weft::comm {

struct StridedCopy {
  static constexpr int kMaxDims = 6;
  struct Place {
    int64_t to, from;  // in words
  };

  int dims = 0;        // of more than one word; those that can be walked as one are merged
  int width = 0;       // bytes of a word: 1, 2, 4, 8 or 16
  uint32_t words = 1;  // in all; below 2^31, as the division wants it
  // From the innermost dimension on; strides in words.
  at::cuda::detail::IntDivider<unsigned int> size[kMaxDims];
  int64_t to[kMaxDims], from[kMaxDims];

  /// Where word `i` goes, and where it comes from. Words that follow each other follow each other where they go to.
  C10_HOST_DEVICE Place place(uint32_t i) const {
    Place p{0, 0};
    for (int d = 0; d < dims; ++d) {
      const auto at = size[d].divmod(i);
      p.to += at.mod * to[d];
      p.from += at.mod * from[d];
      i = at.div;
    }
    return p;
  }
};

}  // namespace weft::comm
