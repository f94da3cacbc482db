#include "rules/bound.h"

#include <algorithm>

namespace weft::rules {

int BoundRule::add_factor(int64_t size, bool splittable) {
  Factor f;
  f.size = size;
  f.splittable = splittable;
  factors.push_back(std::move(f));
  return static_cast<int>(factors.size()) - 1;
}

void finish(const Call& call, BoundRule& bound) {
  std::vector<bool> in_result(bound.factors.size(), false);
  for (const auto& result : bound.results) {
    for (const auto& dim : result.dims) {
      for (int f : dim) in_result[f] = true;
    }
  }
  for (size_t f = 0; f < bound.factors.size(); ++f) bound.factors[f].contracted = !in_result[f];
  auto clean = [&](BoundRule::Tensor& t, const Geometry& g) {
    for (size_t d = 0; d < t.dims.size(); ++d) {
      auto& dim = t.dims[d];
      // A factor of length 1 in a folded dimension is no part of it.
      if (dim.size() > 1) {
        auto one = std::remove_if(dim.begin(), dim.end(), [&](int f) { return bound.factors[f].size == 1; });
        if (one != dim.begin()) dim.erase(one, dim.end());
      }
      // A size-1 dimension against a larger factor broadcasts.
      if (dim.size() == 1 && g.sizes[d] == 1 && bound.factors[dim[0]].size != 1) dim.clear();
      for (size_t k = 0; k + 1 < dim.size(); ++k) bound.factors[dim[k]].even = true;
    }
  };
  for (size_t i = 0; i < bound.tensors.size(); ++i) clean(bound.tensors[i], call.tensors[i].geometry);
  for (size_t i = 0; i < bound.results.size(); ++i) clean(bound.results[i], call.results[i].geometry);
}

}  // namespace weft::rules
