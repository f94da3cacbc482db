#include "plan/axis.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

namespace weft {

using rules::BoundRule;

namespace {

AxisState split_state(int64_t dim, int64_t block) { return {AxisState::split, static_cast<int>(dim), block, {}}; }
AxisState partial_state(Reduction r) { return {AxisState::partial, -1, 0, r}; }

// Where a factor stands in a tensor, as a split; kind replicated where it does not. In a folded dimension the block
// depends on what else is split there and is left to compose().
ChoiceState place(const BoundRule& bound, const BoundRule::Tensor& t, int factor, int64_t block) {
  for (size_t d = 0; d < t.dims.size(); ++d) {
    const BoundRule::Dim& dim = t.dims[d];
    for (size_t k = 0; k < dim.size(); ++k) {
      if (dim[k] != factor) continue;
      if (dim.size() == 1) return {split_state(d, block), true};
      if (block != 0) return {{}, false};
      return {split_state(d, 0), true};
    }
  }
  return {{}, true};
}

}  // namespace

AxisState state_now(const TensorInfo& t, int axis) { return t.layout ? t.layout->state(axis) : AxisState{}; }

ChoiceState tensor_state(const BoundRule& bound, int i, const AxisChoice& choice) {
  const BoundRule::Tensor& t = bound.tensors[i];
  if (choice.kind == AxisChoice::replicate || !t.ruled) return {};
  if (choice.kind == AxisChoice::pending) {
    const auto& group = choice.group->tensors;
    const bool pending = t.added_once || std::find(group.begin(), group.end(), i) != group.end();
    return pending ? ChoiceState{partial_state(choice.reduction), true} : ChoiceState{};
  }
  ChoiceState s = place(bound, t, choice.factor, choice.block);
  const BoundRule::Factor& f = bound.factors[choice.factor];
  if (s.ok && s.state.kind == AxisState::replicated && t.added_once && f.reduction == Reduction::sum) {
    s.state = partial_state(Reduction::sum);
  }
  return s;
}

ChoiceState result_state(const BoundRule& bound, int r, const AxisChoice& choice) {
  const BoundRule::Tensor& t = bound.results[r];
  if (choice.kind == AxisChoice::replicate) return {};
  if (choice.kind == AxisChoice::pending) return {partial_state(choice.reduction), t.ruled};
  if (!t.ruled) return {{}, false};
  ChoiceState s = place(bound, t, choice.factor, choice.block);
  if (s.ok && s.state.kind == AxisState::replicated) {
    const BoundRule::Factor& f = bound.factors[choice.factor];
    if (f.reduction == Reduction::none) return {{}, f.free};
    s.state = partial_state(f.reduction);
  }
  return s;
}

int split_factor(const BoundRule& bound, const BoundRule::Tensor& t, Layout layout, int axis) {
  const int d = layout->state(axis).dim;
  const BoundRule::Dim& dim = t.dims[d];
  if (dim.size() < 2) return dim.empty() ? -1 : dim[0];
  c10::SmallVector<int64_t, 4> left;  // of each factor, after the splits so far
  for (int f : dim) left.push_back(bound.factors[f].size);
  for (const Split& split : layout->dim(d)) {
    size_t k = split.block == 0 ? 0 : dim.size();
    int64_t block = 1;
    for (size_t j = dim.size(); k == dim.size() && j-- > 1;) {
      block *= left[j];
      if (block == split.block) k = j;
    }
    if (k == dim.size()) return -1;
    if (split.axis == axis) return dim[k];
    const int64_t parts = layout->mesh()->axis_size(split.axis);
    left[k] = (left[k] + parts - 1) / parts;
  }
  return -1;
}

}  // namespace weft
