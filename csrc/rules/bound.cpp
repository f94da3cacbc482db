#include "rules/bound.h"

#include <algorithm>

#include "rules/op_info.h"

namespace weft {

const c10::IValue* Call::value(const std::string& name) const {
  const int i = op.argument(name);
  return i < 0 ? nullptr : &arguments[i];
}

bool Call::flag(const std::string& name) const {
  const c10::IValue* v = value(name);
  return v != nullptr && ((v->isBool() && v->toBool()) || (v->isInt() && v->toInt() != 0));
}

std::vector<int64_t> Call::dims(const std::string& name, int64_t ndim) const {
  const c10::IValue* v = value(name);
  std::vector<int64_t> out;
  if (v != nullptr && v->isInt()) {
    out.push_back(v->toInt());
  } else if (v != nullptr && v->isIntList()) {
    out = v->toIntVector();
  }
  if (out.empty()) {
    for (int64_t d = 0; d < ndim; ++d) out.push_back(d);
    return out;
  }
  for (int64_t& d : out) {
    if (d < 0) d += ndim;
  }
  return out;
}

int Call::tensor(const std::string& name) const {
  const int argument = op.argument(name);
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].argument == argument && tensors[i].defined) return static_cast<int>(i);
  }
  return -1;
}

namespace rules {

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

}  // namespace rules
}  // namespace weft
