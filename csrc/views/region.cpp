#include "views/region.h"

namespace weft {

std::optional<std::vector<Range>> decode_region(const Geometry& root, const Geometry& view) {
  const size_t n = root.sizes.size();
  const Sizes order = memory_order(root.strides);
  std::vector<Range> ranges(n);
  // Where the first element lies.
  int64_t rest = view.offset - root.offset;
  if (rest < 0) return std::nullopt;
  for (int64_t d : order) {
    if (root.sizes[d] <= 1 || root.strides[d] == 0) continue;
    ranges[d].start = rest / root.strides[d];
    rest -= ranges[d].start * root.strides[d];
    if (ranges[d].start >= root.sizes[d]) return std::nullopt;
  }
  if (rest != 0) return std::nullopt;
  // Along which dimension each of the view's runs: the one with the largest stride that divides its stride and is long
  // enough.
  for (size_t v = 0; v < view.sizes.size(); ++v) {
    if (view.sizes[v] == 1 || view.strides[v] == 0) continue;
    bool found = false;
    for (int64_t d : order) {
      if (root.sizes[d] <= 1 || root.strides[d] == 0 || ranges[d].view_dim >= 0) continue;
      if (view.strides[v] % root.strides[d] != 0) continue;
      const int64_t step = view.strides[v] / root.strides[d];
      if (view.sizes[v] > 0 && ranges[d].start + (view.sizes[v] - 1) * step >= root.sizes[d]) continue;
      ranges[d].length = view.sizes[v];
      ranges[d].step = step;
      ranges[d].view_dim = static_cast<int>(v);
      found = true;
      break;
    }
    if (!found) return std::nullopt;
  }
  return ranges;
}

}  // namespace weft
