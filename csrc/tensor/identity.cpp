#include "tensor/identity.h"

#include <algorithm>
#include <cstring>

#include "tensor/op_history.h"

namespace weft {

Identity new_root(const char* call) { return mix(hash_text(call), OpHistory::new_place()); }

uint64_t sample(const at::Tensor& plain, int64_t words) {
  if (!plain.is_cpu() || plain.layout() != at::kStrided || !plain.has_storage() || plain.numel() == 0) return 0;
  if (plain.unsafeGetTensorImpl()->is_python_dispatch() || plain._is_zerotensor()) return 0;  // of no memory
  if (!plain.is_contiguous() && !plain.is_non_overlapping_and_dense()) return 0;
  const auto* bytes = static_cast<const char*>(plain.const_data_ptr());
  const int64_t length = static_cast<int64_t>(plain.nbytes()), whole = length / 8;
  // Four at a time, as one waits for the last.
  uint64_t h[4] = {static_cast<uint64_t>(plain.scalar_type()), static_cast<uint64_t>(length), 2, 3};
  auto add = [&](int lane, int64_t offset, int64_t n) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + offset, static_cast<size_t>(n));
    h[lane] = mix(h[lane], word);
  };
  const int64_t step = std::max<int64_t>(1, whole / words);
  int64_t i = 0;
  for (; i + 3 * step < whole; i += 4 * step) {
    for (int lane = 0; lane < 4; ++lane) add(lane, 8 * (i + lane * step), 8);
  }
  for (; i < whole; i += step) add(0, 8 * i, 8);
  if (length % 8 > 0) add(1, 8 * whole, length % 8);
  return mix(mix(mix(h[0], h[1]), h[2]), h[3]) | 1;
}

}  // namespace weft
