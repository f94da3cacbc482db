// What one mesh axis does: the cheapest of what operands invite, and of what is cheaper by far.
#include <ATen/core/Tensor.h>

#include <algorithm>

#include "comm/wire/reduction.h"
#include "plan/axis.h"
#include "plan/cost.h"
#include "plan/drawn_choices.h"

namespace weft {

using rules::BoundRule;

namespace {

constexpr double kUninvited =
    0.25;  // of what the others move: by so much a split that no tensor invites must be cheaper

// Whether some rank is left with nothing of a dimension that `axis` splits too.
bool leaves_nothing(const Call& call, int64_t size, int axis, int factor, int64_t block,
                    const std::vector<AxisChoice>& chosen) {
  // All parts but the last are as long as the first, unless the last is empty. The part of a longer one may be empty
  // where that of a shorter one is not: four in three parts are 2, 2 and 0.
  c10::SmallVector<int64_t, 4> lengths{size};
  auto split = [&](int a, int64_t within) {
    const int64_t parts = call.mesh->axis_size(a);
    c10::SmallVector<int64_t, 4> next;
    for (const int64_t length : lengths) {
      for (const int64_t index : {int64_t{0}, parts - 1}) {
        next.push_back(within == 0 ? chunk_length(length, parts, index)
                                   : length / within * chunk_length(within, parts, index));  // of each block its part
      }
    }
    lengths = std::move(next);
  };
  for (size_t a = 0; a < chosen.size(); ++a) {
    const AxisChoice& c = chosen[a];
    if (static_cast<int>(a) != axis && c.kind == AxisChoice::split && c.factor == factor) split(a, c.block);
  }
  split(axis, block);
  return std::find(lengths.begin(), lengths.end(), 0) != lengths.end();
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

// Whether parts of the one dtype, each converted to the other, stand for the converted value: parts of integers wrap
// around where their sum does not, and a sum is not rounded further than its value.
bool parts_convert(at::ScalarType from, at::ScalarType to) {
  const auto real = c10::toRealValueType(from), real_to = c10::toRealValueType(to);
  if (real == real_to) return true;
  return at::isFloatingType(real) && at::isFloatingType(real_to) && c10::elementSize(real) < c10::elementSize(real_to);
}

bool may_stay_pending(const Call& call, const BoundRule& bound, int axis, const BoundRule::Pending& group,
                      Reduction reduction, const std::vector<AxisChoice>& chosen) {
  if (!group.carry && reduction != Reduction::sum && reduction != Reduction::avg) return false;
  for (const ResultInfo& r : call.results) {
    if (!r.defined) continue;
    if (!comm::can_reduce(r.dtype, reduction)) return false;  // seen as another dtype
    for (int i : group.tensors) {
      if (!parts_convert(call.tensors[i].dtype, r.dtype)) return false;
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
    cost = cost_or_lot(call_, axis_, c.choice, cost + more + products(c.choice));
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
