#include "redistribute/memory_order.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace weft {

Sizes memory_order(c10::IntArrayRef sizes, c10::IntArrayRef strides) {
  Sizes order(sizes.size());
  std::iota(order.begin(), order.end(), 0);
  auto compare = [&](int64_t outer, int64_t inner) {
    const int64_t a = strides[outer], b = strides[inner];
    if (a == 0 || b == 0) return 0;
    if (a != b) return a < b ? 1 : -1;
    return sizes[outer] < sizes[inner] ? 1 : 0;
  };
  for (size_t i = 1; i < order.size(); ++i) {
    size_t moved = i;
    for (size_t j = i; j-- > 0;) {
      const int wrong = compare(order[j], order[moved]);
      if (wrong < 0) break;
      if (wrong == 0) continue;
      std::swap(order[j], order[moved]);
      moved = j;
    }
  }
  if (std::is_sorted(order.begin(), order.end())) order.clear();
  return order;
}

Sizes inverse(const Sizes& order) {
  Sizes position(order.size());
  for (size_t i = 0; i < order.size(); ++i) position[order[i]] = static_cast<int64_t>(i);
  return position;
}

}  // namespace weft
