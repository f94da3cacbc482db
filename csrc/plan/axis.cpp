#include "plan/axis.h"

#include <ATen/core/Tensor.h>
#include <comm/reduction.h>

#include <algorithm>

#include "plan/written.h"

namespace weft {

using rules::BoundRule;

namespace {

// Seconds per collective and per byte, equal on all ranks whatever the machine: plans must agree.
constexpr double kAlpha = 20e-6, kBeta = 1e-10;
constexpr double kSecondsPerProduct = 1e-11;  // of a contraction

AxisState split_state(int64_t dim, int64_t block) { return {AxisState::split, static_cast<int>(dim), block, {}}; }
AxisState partial_state(Reduction r) { return {AxisState::partial, -1, 0, r}; }

bool same(const AxisState& a, const AxisState& b) {
  return a.kind == b.kind && a.dim == b.dim && a.block == b.block && a.reduction == b.reduction;
}

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

double move_cost(const AxisState& from, const AxisState& to, double bytes, double n) {
  if (same(from, to) || from.kind == AxisState::replicated) return 0;
  const double share = (n - 1) / n;
  if (from.kind == AxisState::split) {
    if (to.kind == AxisState::split) return kAlpha + share * bytes / n * kBeta;
    return kAlpha + share * bytes * kBeta;
  }
  if (to.kind == AxisState::split) return kAlpha + share * bytes * kBeta;
  if (to.kind == AxisState::partial) return 2 * (kAlpha + share * bytes * kBeta);
  return kAlpha + 2 * share * bytes * kBeta;
}

AxisState state_now(const TensorInfo& t, int axis) { return t.layout ? t.layout->state(axis) : AxisState{}; }

// Bytes of a tensor that the ranks of one axis hold together, given the splits over the other axes.
double group_bytes(const TensorInfo& t, int axis) {
  double bytes = static_cast<double>(t.bytes());
  if (t.layout == nullptr) return bytes;
  for (int a = 0; a < t.layout->mesh()->ndim(); ++a) {
    if (a != axis && t.layout->state(a).kind == AxisState::split) bytes /= t.layout->mesh()->axis_size(a);
  }
  return bytes;
}

double result_bytes(const Call& call, const BoundRule& bound, int r, int axis, const std::vector<AxisChoice>& chosen) {
  const ResultInfo& result = call.results[r];
  double bytes = static_cast<double>(result.geometry.numel()) * c10::elementSize(result.dtype);
  for (size_t a = 0; a < chosen.size(); ++a) {
    if (static_cast<int>(a) == axis) continue;
    if (result_state(bound, r, chosen[a]).state.kind == AxisState::split) bytes /= call.mesh->axis_size(a);
  }
  return bytes;
}

int written_result(const Call& call, const TensorInfo& t) {
  for (size_t r = 0; r < call.results.size(); ++r) {
    if (written_argument(call, call.results[r]) == t.argument && call.results[r].element == t.element) {
      return static_cast<int>(r);
    }
  }
  return -1;
}

// Seconds to fetch the rows that a window needs of other ranks, and for a gradient to return theirs.
double halo_cost(const Call& call, const BoundRule& bound, int axis, const AxisChoice& choice) {
  if (choice.kind != AxisChoice::split || !bound.factors[choice.factor].halo) return 0;
  const Window& window = *bound.factors[choice.factor].window;
  const int64_t rows = halo_rows(window, call.mesh->axis_size(axis));
  if (rows == 0) return 0;
  const int input = std::max(call.tensor("self"), call.tensor("input"));
  const double bytes = group_bytes(call.tensors[input], axis) / window.in * static_cast<double>(rows);
  const bool backward = call.tensor("grad_output") >= 0;
  const int fetches = !backward || call.tensor("weight") >= 0, returns = backward && call.results[0].defined;
  return (fetches + returns) * (kAlpha + bytes * kBeta);
}

// Seconds; negative where the choice is not valid.
double cost_of(const Call& call, const BoundRule& bound, int axis, const AxisChoice& choice,
               const std::vector<AxisChoice>& chosen) {
  const double n = static_cast<double>(call.mesh->axis_size(axis));
  double cost = halo_cost(call, bound, axis, choice);
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (!t.defined) continue;
    const ChoiceState target = tensor_state(bound, static_cast<int>(i), choice);
    if (!target.ok) return -1;
    const AxisState now = state_now(t, axis);
    // In a folded dimension it is the factor that counts, not the block.
    const bool stays = now.kind == AxisState::split && target.state.kind == AxisState::split &&
                       now.dim == target.state.dim && bound.tensors[i].dims[now.dim].size() > 1 &&
                       split_factor(bound, bound.tensors[i], t.layout, axis) == choice.factor;
    if (!bound.tensors[i].shape_only && !stays) cost += move_cost(now, target.state, group_bytes(t, axis), n);
    if (t.written) {
      const int r = written_result(call, t);
      const AxisState after = r < 0 || stays ? (stays ? now : target.state) : result_state(bound, r, choice).state;
      cost += move_cost(after, now, group_bytes(t, axis), n);
      // A value brought to "pending" costs a reduction at the next reader.
      if (!same(after, now)) cost += kAlpha;
    }
  }
  for (size_t r = 0; r < call.results.size(); ++r) {
    if (!call.results[r].defined) continue;
    const ChoiceState target = result_state(bound, static_cast<int>(r), choice);
    if (!target.ok) return -1;
    if (target.state.kind == AxisState::partial && written_argument(call, call.results[r]) < 0) {
      cost += kAlpha + 2 * (n - 1) / n * result_bytes(call, bound, static_cast<int>(r), axis, chosen) * kBeta;
    }
  }
  return cost;
}

// Products of a contraction: it is worth moving bytes to share them out.
double work(const BoundRule& bound) {
  double products = 0;
  for (const auto& f : bound.factors) {
    if (f.contracted && f.reduction == Reduction::sum && !f.masked) products = 1;
  }
  if (products == 0 || bound.tensors.size() < 2) return 0;
  for (const auto& f : bound.factors) products *= static_cast<double>(std::max<int64_t>(f.size, 1));
  return products * kSecondsPerProduct;
}

// Whether some rank is left with nothing of a dimension that `axis` splits too.
bool leaves_nothing(const Call& call, int64_t size, int axis, int factor, int64_t block,
                    const std::vector<AxisChoice>& chosen) {
  auto last = [&](int a, int64_t within) {
    const int64_t parts = call.mesh->axis_size(a);
    size = within == 0 ? chunk_length(size, parts, parts - 1)
                       : size / within * chunk_length(within, parts, parts - 1);  // of each block its part
  };
  for (size_t a = 0; a < chosen.size(); ++a) {
    const AxisChoice& c = chosen[a];
    if (static_cast<int>(a) != axis && c.kind == AxisChoice::split && c.factor == factor) last(a, c.block);
  }
  last(axis, block);
  return size == 0;
}

bool may_split(const Call& call, const BoundRule& bound, int axis, int factor, int64_t block,
               const std::vector<AxisChoice>& chosen) {
  const BoundRule::Factor& f = bound.factors[factor];
  if (!f.splittable || f.whole) return false;
  if (f.contracted && f.reduction == Reduction::none) return false;
  if (f.even) {
    int64_t parts = call.mesh->axis_size(axis);
    for (size_t a = 0; a < chosen.size(); ++a) {
      if (static_cast<int>(a) == axis) continue;
      if (chosen[a].kind == AxisChoice::split && chosen[a].factor == factor) parts *= call.mesh->axis_size(a);
    }
    if (f.size % parts != 0) return false;
  }
  if (f.masked && block != 0) return false;
  if ((f.halo || f.causal) && block != 0) return false;
  for (size_t a = 0; f.halo && a < chosen.size(); ++a) {  // neighbours along one axis
    const AxisChoice& c = chosen[a];
    if (static_cast<int>(a) != axis && c.kind == AxisChoice::split && c.factor == factor) return false;
  }
  // The largest of nothing has no value.
  const bool largest = f.contracted && (f.reduction == Reduction::max || f.reduction == Reduction::min);
  if ((largest || (bound.nonempty && !f.halo)) && leaves_nothing(call, f.size, axis, factor, block, chosen))
    return false;
  // Two kinds of pending reductions on one result do not commute.
  if (f.contracted) {
    for (size_t a = 0; a < chosen.size(); ++a) {
      const AxisChoice& c = chosen[a];
      if (static_cast<int>(a) == axis) continue;
      if (c.kind == AxisChoice::pending && c.reduction != f.reduction) return false;
      if (c.kind == AxisChoice::split && bound.factors[c.factor].contracted &&
          bound.factors[c.factor].reduction != f.reduction) {
        return false;
      }
    }
  }
  return true;
}

bool may_stay_pending(const Call& call, const BoundRule& bound, int axis, const BoundRule::Pending& group,
                      Reduction reduction, const std::vector<AxisChoice>& chosen) {
  for (const ResultInfo& r : call.results) {
    if (r.defined && !comm::can_reduce(r.dtype, reduction)) return false;  // seen as another dtype
  }
  if (!group.carry) {
    if (reduction != Reduction::sum && reduction != Reduction::avg) return false;
    for (const ResultInfo& r : call.results) {
      if (!r.defined) continue;
      for (int i : group.tensors) {
        const bool fraction = at::isFloatingType(call.tensors[i].dtype) || at::isComplexType(call.tensors[i].dtype);
        if (fraction != (at::isFloatingType(r.dtype) || at::isComplexType(r.dtype))) return false;
        // Parts wrap around where their sum does not.
        if (!fraction && r.dtype != call.tensors[i].dtype) return false;
        // Nor is a sum rounded further than its value.
        if (c10::elementSize(c10::toRealValueType(r.dtype)) <
            c10::elementSize(c10::toRealValueType(call.tensors[i].dtype))) {
          return false;
        }
      }
    }
  }
  for (size_t a = 0; a < chosen.size(); ++a) {
    const AxisChoice& c = chosen[a];
    if (static_cast<int>(a) == axis) continue;
    if (c.kind == AxisChoice::pending && c.reduction != reduction) return false;
    if (c.kind == AxisChoice::split && bound.factors[c.factor].contracted &&
        bound.factors[c.factor].reduction != reduction) {
      return false;
    }
  }
  return true;
}

}  // namespace

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

AxisChoice choose(const Call& call, const BoundRule& bound, int axis, const std::vector<AxisChoice>& chosen) {
  struct Candidate {
    AxisChoice choice;
    int rank;  // among equal costs
  };
  c10::SmallVector<Candidate, 8> candidates;
  candidates.push_back({AxisChoice{}, 2});
  auto add = [&](const AxisChoice& choice, int rank) {
    for (const Candidate& c : candidates) {
      if (c.choice.kind == choice.kind && c.choice.factor == choice.factor && c.choice.block == choice.block &&
          c.choice.group == choice.group && c.choice.reduction == choice.reduction) {
        return;
      }
    }
    candidates.push_back({choice, rank});
  };
  // Only what some tensor's present state invites.
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    if (!call.tensors[i].defined || !bound.tensors[i].ruled) continue;
    const AxisState now = state_now(call.tensors[i], axis);
    if (now.kind == AxisState::split) {
      const int factor = split_factor(bound, bound.tensors[i], call.tensors[i].layout, axis);
      const int64_t block = bound.tensors[i].dims[now.dim].size() == 1 ? now.block : 0;
      if (factor >= 0 && may_split(call, bound, axis, factor, block, chosen)) {
        add({AxisChoice::split, factor, block, Reduction::none, nullptr}, 1);
      }
    } else if (now.kind == AxisState::partial && !bound.tensors[i].shape_only) {
      for (const auto& group : bound.pending) {
        if (std::find(group.tensors.begin(), group.tensors.end(), static_cast<int>(i)) == group.tensors.end()) continue;
        if (!may_stay_pending(call, bound, axis, group, now.reduction, chosen)) continue;
        bool others = false;  // something is read beside the pending tensors
        for (size_t j = 0; j < call.tensors.size(); ++j) {
          const bool pending_too = state_now(call.tensors[j], axis).kind == AxisState::partial;
          others |= call.tensors[j].defined && !pending_too && !call.tensors[j].geometry.sizes.empty();
        }
        add({AxisChoice::pending, -1, 0, now.reduction, &group}, others ? 3 : 0);
      }
    }
  }
  const double n = static_cast<double>(call.mesh->axis_size(axis));
  const double products = candidates.size() > 1 ? work(bound) : 0;
  AxisChoice best;
  double best_cost = -1;
  int best_rank = 0;
  for (const Candidate& c : candidates) {
    double cost = cost_of(call, bound, axis, c.choice, chosen);
    if (cost < 0) continue;
    cost += c.choice.kind == AxisChoice::split ? products / n : products;
    const double tie = 1e-9 + 1e-6 * cost;
    if (best_cost < 0 || cost < best_cost - tie || (cost < best_cost + tie && c.rank < best_rank)) {
      best = c.choice;
      best_cost = cost;
      best_rank = c.rank;
    }
  }
  return best;
}

}  // namespace weft
