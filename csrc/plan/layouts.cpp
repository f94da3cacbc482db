#include "plan/layouts.h"

#include <algorithm>
#include <map>

namespace weft {

using rules::BoundRule;

namespace {

// Whether every rank can hold a tensor of these sizes in that layout: blocked splits must meet whole blocks.
bool fits(Layout layout, c10::IntArrayRef sizes) {
  for (int64_t d = 0; d < layout->ndim(); ++d) {
    int64_t size = sizes[d];
    bool even = true;
    for (const Split& split : layout->dim(d)) {
      const int64_t parts = layout->mesh()->axis_size(split.axis);
      if (split.block == 0) {
        even = even && size % parts == 0;
        size = (size + parts - 1) / parts;
      } else {
        if (!even || size % split.block != 0) return false;
        even = split.block % parts == 0;
        size = size / split.block * ((split.block + parts - 1) / parts);
      }
    }
  }
  return true;
}

// The order in which axes split one factor: as in the largest tensor that already has them there.
std::vector<int> factor_order(const Call& call, const BoundRule& bound, int factor,
                              const std::vector<AxisChoice>& choices) {
  std::vector<int> axes;
  for (size_t a = 0; a < choices.size(); ++a) {
    if (choices[a].kind == AxisChoice::split && choices[a].factor == factor) axes.push_back(static_cast<int>(a));
  }
  if (axes.size() < 2) return axes;
  int64_t best_bytes = -1;
  std::vector<int> best;
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (!t.defined || t.layout == nullptr) continue;
    for (size_t d = 0; d < bound.tensors[i].dims.size(); ++d) {
      const auto& dim = bound.tensors[i].dims[d];
      if (std::find(dim.begin(), dim.end(), factor) == dim.end()) continue;
      std::vector<int> order;
      for (const Split& s : t.layout->dim(static_cast<int64_t>(d))) {
        if (std::find(axes.begin(), axes.end(), s.axis) != axes.end()) order.push_back(s.axis);
      }
      if (order.size() < 2) continue;
      if (order.size() > best.size() || (order.size() == best.size() && t.bytes() > best_bytes)) {
        best = order;
        best_bytes = t.bytes();
      }
    }
  }
  for (int a : axes) {
    if (std::find(best.begin(), best.end(), a) == best.end()) best.push_back(a);
  }
  return best;
}

// The layout of a tensor (state of each axis, dims of the bound rule) with axes in their factors' order.
Layout compose(const Call& call, const BoundRule& bound, const BoundRule::Tensor& t,
               const std::vector<ChoiceState>& states, const std::map<int, std::vector<int>>& orders) {
  TensorLayout::Dims dims(t.dims.size());
  TensorLayout::Partial partial{};
  for (size_t d = 0; d < t.dims.size(); ++d) {
    const BoundRule::Dim& dim = t.dims[d];
    c10::SmallVector<int64_t, 4> left;  // of each factor, after the splits so far
    for (int f : dim) left.push_back(bound.factors[f].size);
    for (size_t k = 0; k < dim.size(); ++k) {
      auto it = orders.find(dim[k]);
      if (it == orders.end()) continue;
      for (int a : it->second) {
        const AxisState& s = states[a].state;
        if (s.kind != AxisState::split || s.dim != static_cast<int>(d)) continue;
        int64_t block = dim.size() == 1 ? s.block : 0;
        // A minor factor of a folded dimension is split inside blocks of it and what is minor to it.
        if (k > 0) {
          block = 1;
          for (size_t j = k; j < dim.size(); ++j) block *= left[j];
        }
        dims[d].push_back({a, block});
        const int64_t parts = call.mesh->axis_size(a);
        left[k] = (left[k] + parts - 1) / parts;
      }
    }
  }
  for (size_t a = 0; a < states.size(); ++a) {
    if (states[a].state.kind == AxisState::partial) partial[a] = states[a].state.reduction;
  }
  return TensorLayout::get(call.mesh, std::move(dims), partial);
}

}  // namespace

Layouts compose_all(const Call& call, const BoundRule& bound, const std::vector<AxisChoice>& choices) {
  std::map<int, std::vector<int>> orders;
  for (const AxisChoice& c : choices) {
    if (c.kind == AxisChoice::split && !orders.count(c.factor)) {
      orders[c.factor] = factor_order(call, bound, c.factor, choices);
    }
  }
  Layouts out;
  std::vector<ChoiceState> states(choices.size());
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    if (!call.tensors[i].defined) {
      out.tensors.push_back(nullptr);
      continue;
    }
    for (size_t a = 0; a < choices.size(); ++a) states[a] = tensor_state(bound, static_cast<int>(i), choices[a]);
    out.tensors.push_back(compose(call, bound, bound.tensors[i], states, orders));
    out.ok = out.ok && fits(out.tensors.back(), call.tensors[i].geometry.sizes);
  }
  for (size_t r = 0; r < call.results.size(); ++r) {
    if (!call.results[r].defined) {
      out.results.push_back(nullptr);
      continue;
    }
    for (size_t a = 0; a < choices.size(); ++a) states[a] = result_state(bound, static_cast<int>(r), choices[a]);
    out.results.push_back(compose(call, bound, bound.results[r], states, orders));
    out.ok = out.ok && fits(out.results.back(), call.results[r].geometry.sizes);
  }
  return out;
}

}  // namespace weft
