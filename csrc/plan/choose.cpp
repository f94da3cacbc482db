// What one mesh axis does: the cheapest of what operands invite, and of what is cheaper by far.
#include <ATen/core/Tensor.h>

#include <algorithm>

#include "comm/wire/reduction.h"
#include "plan/axis.h"
#include "plan/cost.h"

namespace weft {

using rules::BoundRule;

namespace {

constexpr double kUninvited =
    0.25;  // of what the others move: by so much a split that no tensor invites must be cheaper

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
  if ((largest || (!bound.supports_empty_shards && !f.halo)) &&
      leaves_nothing(call, f.size, axis, factor, block, chosen))
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

struct Candidate {
  AxisChoice choice;
  int rank;  // among equal costs
};
using Candidates = c10::SmallVector<Candidate, 8>;

bool same(const AxisChoice& a, const AxisChoice& b) {
  return a.kind == b.kind && a.factor == b.factor && a.block == b.block && a.group == b.group &&
         a.reduction == b.reduction;
}

void add(Candidates& candidates, const AxisChoice& choice, int rank) {
  const auto is_it = [&](const Candidate& c) { return same(c.choice, choice); };
  if (std::none_of(candidates.begin(), candidates.end(), is_it)) candidates.push_back({choice, rank});
}

// Whether something is read beside the tensors that are pending over the axis.
bool reads_others(const Call& call, int axis) {
  return std::any_of(call.tensors.begin(), call.tensors.end(), [&](const TensorInfo& t) {
    return t.defined && state_now(t, axis).kind != AxisState::partial && !t.geometry.sizes.empty();
  });
}

// What some tensor's present state invites, and to replicate.
Candidates invited(const Call& call, const BoundRule& bound, int axis, const std::vector<AxisChoice>& chosen) {
  Candidates candidates{{AxisChoice{}, 2}};
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    if (!call.tensors[i].defined || !bound.tensors[i].ruled) continue;
    const AxisState now = state_now(call.tensors[i], axis);
    if (now.kind == AxisState::split) {
      const int factor = split_factor(bound, bound.tensors[i], call.tensors[i].layout, axis);
      const int64_t block = bound.tensors[i].dims[now.dim].size() == 1 ? now.block : 0;
      if (factor >= 0 && may_split(call, bound, axis, factor, block, chosen)) {
        add(candidates, {AxisChoice::split, factor, block, Reduction::none, nullptr}, 1);
      }
    } else if (now.kind == AxisState::partial && !bound.tensors[i].shape_only) {
      for (const auto& group : bound.pending) {
        if (std::find(group.tensors.begin(), group.tensors.end(), static_cast<int>(i)) == group.tensors.end()) continue;
        if (!may_stay_pending(call, bound, axis, group, now.reduction, chosen)) continue;
        add(candidates, {AxisChoice::pending, -1, 0, now.reduction, &group}, reads_others(call, axis) ? 3 : 0);
      }
    }
  }
  return candidates;
}

// The best of those considered so far.
class Best {
 public:
  Best(const Call& call, const BoundRule& bound, int axis, const Flow& flow, const std::vector<AxisChoice>& chosen)
      : call_(call),
        bound_(bound),
        axis_(axis),
        flow_(flow),
        chosen_(chosen),
        n_(static_cast<double>(call.mesh->axis_size(axis))),
        products_(product_cost(call, bound)) {}

  /// `more`: what it costs beside the moves and the products of this op.
  void consider(const Candidate& c, double more) {
    double cost = move_cost(call_, bound_, axis_, c.choice, flow_, chosen_);
    if (cost < 0) return;
    cost += more + products(c.choice);
    const bool refused = moves_what_stays(call_, bound_, axis_, c.choice);
    const double tie = 1e-9 + 1e-6 * cost;
    const bool cheaper = cost < cost_ - tie || (cost < cost_ + tie && c.rank < rank_);
    if (cost_ < 0 || (refused == refused_ ? cheaper : refused_)) {
      choice_ = c.choice;
      cost_ = cost;
      rank_ = c.rank;
      refused_ = refused;
    }
  }
  const AxisChoice& choice() const { return choice_; }
  /// Without the products.
  double moves() const { return cost_ - products(choice_); }

 private:
  double products(const AxisChoice& choice) const {
    return choice.kind == AxisChoice::split ? products_ / n_ : products_;
  }

  const Call& call_;
  const BoundRule& bound_;
  const int axis_;
  const Flow& flow_;
  const std::vector<AxisChoice>& chosen_;
  const double n_, products_;
  AxisChoice choice_;
  double cost_ = -1;
  int rank_ = 0;
  bool refused_ = false;  // by strict mode
};

// What no tensor invites is worth a look where something large is gathered: heads of an attention whose sequence is
// split, say. All that is split then moves there, and the results back; so it has to be cheaper by far.
void consider_uninvited(const Call& call, const BoundRule& bound, int axis, const Flow& flow,
                        const std::vector<AxisChoice>& chosen, const Candidates& candidates, Best& best) {
  const double moves = best.moves();
  // Not where the op sums over what flows: such a sum is reduced once for all its readers, or in a bucket, and its
  // backward moves nothing; another split is paid for again by the gradients. Nor where it is a variable that is
  // gathered: all that follows would go on in the other split.
  if (flow.factor < 0 || flow.meets_variable || bound.factors[flow.factor].contracted || moves <= 0 || call.op.is_view)
    return;
  for (int f = 0; f < static_cast<int>(bound.factors.size()); ++f) {
    if (bound.factors[f].contracted || bound.factors[f].halo || f == flow.factor) continue;
    if (!may_split(call, bound, axis, f, 0, chosen)) continue;
    if (leaves_nothing(call, bound.factors[f].size, axis, f, 0, chosen)) continue;
    const AxisChoice choice{AxisChoice::split, f, 0, Reduction::none, nullptr};
    const auto is_it = [&](const Candidate& c) { return c.choice.kind == AxisChoice::split && c.choice.factor == f; };
    if (std::any_of(candidates.begin(), candidates.end(), is_it)) continue;
    best.consider({choice, 4}, moves * kUninvited + return_cost(call, bound, axis, choice, flow, chosen));
  }
}

}  // namespace

AxisChoice choose(const Call& call, const BoundRule& bound, int axis, const std::vector<AxisChoice>& chosen) {
  const Candidates candidates = invited(call, bound, axis, chosen);
  const Flow flow = flow_of(call, bound, axis);
  Best best(call, bound, axis, flow, chosen);
  for (const Candidate& c : candidates) best.consider(c, 0);
  consider_uninvited(call, bound, axis, flow, chosen, candidates, best);
  return best.choice();
}

}  // namespace weft
