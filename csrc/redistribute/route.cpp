#include "redistribute/route.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <limits>
#include <map>
#include <queue>
#include <tuple>
#include <vector>

namespace weft::relayout {
namespace {

constexpr int64_t kSmallBytes = int64_t{1} << 20;  // shards below this may outgrow both ends of a route
constexpr int kMaxExpanded = 1500;                 // states, before a search gives up

bool same(const AxisState& a, const AxisState& b) {
  return a.kind == b.kind && a.dim == b.dim && a.block == b.block && a.reduction == b.reduction;
}

// Whether the goal's splits of each dimension begin with those of `start`.
bool splits_extend(const State& start, const State& goal) {
  const State::Placed* s = start.begin();
  for (const State::Placed& split : goal) {
    if (s != start.end() && *s == split) {
      ++s;
    } else if (s != start.end() && s->dim == split.dim) {
      return false;
    }
  }
  return s == start.end();
}

bool mixed_partial(const State& start, const State& goal) {
  Reduction first = Reduction::none;
  for (const State* state : {&start, &goal}) {
    for (Reduction r : state->partial) {
      if (r == Reduction::none) continue;
      if (first != Reduction::none && r != first) return true;
      first = r;
    }
  }
  return false;
}

// The axes that have to move: those whose state differs, and those inside of one that leaves or enters a dimension.
std::vector<int> moving_axes(const State& start, const State& goal, const Subject& subject) {
  std::array<bool, kMaxAxes> moves{};
  for (int axis = 0; axis < kMaxAxes; ++axis) moves[axis] = start.partial[axis] != goal.partial[axis];
  for (int d = 0; d < static_cast<int>(subject.sizes.size()); ++d) {
    auto in_dim = [&](const State& state) {
      return std::equal_range(state.begin(), state.end(), State::Placed{d, 0, 0},
                              [](const auto& a, const auto& b) { return a.dim < b.dim; });
    };
    auto [s, s_end] = in_dim(start);
    auto [g, g_end] = in_dim(goal);
    for (; s != s_end && g != g_end && *s == *g; ++s, ++g) {
    }
    for (; s != s_end; ++s) moves[s->axis] = true;
    for (; g != g_end; ++g) moves[g->axis] = true;
  }
  // Kinds that do not commute have one order, so one that stays may have to be taken and made pending again.
  if (mixed_partial(start, goal)) {
    for (int axis = 0; axis < kMaxAxes; ++axis) moves[axis] = moves[axis] || start.partial[axis] != Reduction::none;
  }
  std::vector<int> axes;
  for (int axis = 0; axis < kMaxAxes; ++axis) {
    if (moves[axis]) axes.push_back(axis);
  }
  return axes;
}

// The dimensions that a moving axis may split on its way: those that it or another one splits at an end, and up to
// `spare` further ones to be parked in.
std::vector<int> open_dims(const State& start, const State& goal, const std::vector<int>& axes, int spare,
                           const Subject& subject) {
  std::vector<bool> open(subject.sizes.size());
  int64_t ranks = 1;
  for (int axis : axes) {
    ranks *= subject.mesh->axis_size(axis);
    for (const State* state : {&start, &goal}) {
      const AxisState at = axis_state(*state, axis);
      if (at.kind == AxisState::split) open[at.dim] = true;
    }
  }
  for (size_t d = 0; d < open.size() && spare > 0; ++d) {
    if (open[d] || subject.sizes[d] < ranks) continue;
    open[d] = true;
    --spare;
  }
  std::vector<int> dims;
  for (size_t d = 0; d < open.size(); ++d) {
    if (open[d]) dims.push_back(static_cast<int>(d));
  }
  return dims;
}

struct Node {
  State state;
  comm::Ticks cost;
  int length;
  int parent;
  Step step;
  bool done = false;
};

// A*: the estimate of what is left is the least that a collective takes, for each axis that some collective must still
// move.
class Search {
 public:
  Search(const State& goal, const Subject& subject, std::vector<int> axes, const std::vector<int>& dims, int64_t limit)
      : goal_(goal), subject_(subject), axes_(std::move(axes)), limit_(limit) {
    for (int axis : axes_) {
      targets_.push_back(targets_of(axis, dims));
      least_[axis] = comm::cost_of(subject.mesh).axes[axis].least();
    }
  }

  std::optional<Route> run(const State& start) {
    add({start, 0, 0, -1, {}});
    for (int expanded = 0; !queue_.empty() && expanded < kMaxExpanded;) {
      const int at = std::get<2>(queue_.top());
      queue_.pop();
      if (nodes_[at].done) continue;
      if (nodes_[at].state == goal_) return route_to(at);
      nodes_[at].done = true;
      ++expanded;
      for (size_t i = 0; i < axes_.size(); ++i) expand(at, axes_[i], targets_[i]);
    }
    return std::nullopt;
  }

 private:
  using Entry = std::tuple<comm::Ticks, int, int>;  // estimated cost, steps, node: a total order without addresses

  std::vector<AxisState> targets_of(int axis, const std::vector<int>& dims) const {
    std::vector<AxisState> targets{axis_state(goal_, axis)};
    auto add = [&](const AxisState& target) {
      if (!same(target, targets[0])) targets.push_back(target);
    };
    add({});
    for (int dim : dims) add({AxisState::split, dim, 0, Reduction::none});
    return targets;
  }

  comm::Ticks estimate(const State& state) const {
    comm::Ticks cost = 0;
    for (int axis : axes_) {
      const AxisState at = axis_state(state, axis);
      if (at.kind == AxisState::replicated || same(at, axis_state(goal_, axis))) continue;
      cost += least_[axis];
    }
    return cost;
  }

  void expand(int at, int axis, const std::vector<AxisState>& targets) {
    const int64_t bytes = shard_bytes(nodes_[at].state, subject_);
    Step step{axis, axis_state(nodes_[at].state, axis), {}};
    for (const AxisState& target : targets) {
      step.to = target;
      if (same(step.from, step.to) || !applies(step, nodes_[at].state, subject_)) continue;
      const State next = after(step, nodes_[at].state);
      const int64_t bytes_after = shard_bytes(next, subject_);
      if (bytes_after > limit_) continue;
      add({next, nodes_[at].cost + cost(step, subject_.mesh, bytes, bytes_after), nodes_[at].length + 1, at, step});
    }
  }

  void add(const Node& node) {
    const auto [found, fresh] = found_.try_emplace(node.state, static_cast<int>(nodes_.size()));
    if (fresh) {
      nodes_.push_back(node);
    } else {
      Node& known = nodes_[found->second];
      if (known.done || std::tie(known.cost, known.length) <= std::tie(node.cost, node.length)) return;
      known = node;
    }
    queue_.push({node.cost + estimate(node.state), node.length, found->second});
  }

  Route route_to(int at) const {
    Route route;
    route.cost = nodes_[at].cost;
    for (; nodes_[at].parent >= 0; at = nodes_[at].parent) route.steps.push_back(nodes_[at].step);
    std::reverse(route.steps.begin(), route.steps.end());
    return route;
  }

  const State& goal_;
  const Subject& subject_;
  const std::vector<int> axes_;
  const int64_t limit_;
  std::vector<std::vector<AxisState>> targets_;  // per axis
  std::array<comm::Ticks, kMaxAxes> least_{};    // per mesh axis: of any collective
  std::vector<Node> nodes_;
  std::map<State, int> found_;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
};

// Everything that moves is gathered, then cut anew: always possible.
Route by_way_of_replicas(const State& start, const State& goal, const std::vector<int>& axes, const Subject& subject) {
  Route route;
  State state = start;
  auto moves = [&](int axis) { return std::find(axes.begin(), axes.end(), axis) != axes.end(); };
  auto take = [&](int axis, const AxisState& to) {
    const Step step{axis, axis_state(state, axis), to};
    const State next = after(step, state);
    route.cost += cost(step, subject.mesh, shard_bytes(state, subject), shard_bytes(next, subject));
    route.steps.push_back(step);
    state = next;
  };
  for (int axis = kMaxAxes - 1; axis >= 0; --axis) {
    if (moves(axis) && start.partial[axis] != Reduction::none) take(axis, {});
  }
  for (int i = start.count - 1; i >= 0; --i) {
    if (moves(start.splits[i].axis)) take(start.splits[i].axis, {});
  }
  for (const State::Placed& split : goal) {
    if (moves(split.axis)) take(split.axis, axis_state(goal, split.axis));
  }
  for (int axis : axes) {
    if (goal.partial[axis] != Reduction::none) take(axis, axis_state(goal, axis));
  }
  return route;
}

}  // namespace

std::optional<Step> single_step(const State& start, const State& goal, const Subject& subject) {
  Step step{-1, {}, {}};
  for (int axis = 0; axis < subject.mesh->ndim(); ++axis) {
    const AxisState from = axis_state(start, axis), to = axis_state(goal, axis);
    if (same(from, to)) continue;
    if (step.axis >= 0) return std::nullopt;
    step = {axis, from, to};
  }
  if (step.axis < 0 || !applies(step, start, subject) || after(step, start) != goal) return std::nullopt;
  return step;
}

bool only_slices(const State& start, const State& goal) {
  return start.partial == goal.partial && splits_extend(start, goal);
}

std::optional<Steps> only_reductions(const State& start, const State& goal, const Subject& subject) {
  if (goal.partial != State{}.partial || !splits_extend(start, goal)) return std::nullopt;
  Steps steps;
  State state = start;
  auto take = [&](int axis) {
    const Step step{axis, axis_state(state, axis), axis_state(goal, axis)};
    if (!applies(step, state, subject)) return false;
    steps.push_back(step);
    state = after(step, state);
    return true;
  };
  std::vector<State::Placed> missing;
  for (const State::Placed& split : goal) {
    if (axis_state(start, split.axis).kind != AxisState::split) missing.push_back(split);
  }
  while (!missing.empty()) {
    // The outermost of a dimension's missing splits is the next to enter it; a slice before a reduction.
    auto next = missing.begin();
    for (auto m = missing.begin(); m != missing.end(); ++m) {
      const bool outermost = m == missing.begin() || (m - 1)->dim != m->dim;
      if (!outermost || state.partial[m->axis] != Reduction::none) continue;
      next = m;
      break;
    }
    if (!take(next->axis)) return std::nullopt;
    missing.erase(next);
  }
  for (int axis = 0; axis < subject.mesh->ndim(); ++axis) {
    if (state.partial[axis] != Reduction::none && !take(axis)) return std::nullopt;
  }
  const auto reduces = [](const Step& step) { return step.from.kind == AxisState::partial; };
  if (std::none_of(steps.begin(), steps.end(), reduces)) return std::nullopt;
  return steps;
}

Route find_route(const State& start, const State& goal, const Subject& subject) {
  const std::vector<int> axes = moving_axes(start, goal, subject);
  int pending = 0;
  for (int axis : axes) pending += start.partial[axis] != Reduction::none;
  const int64_t limit = std::max({shard_bytes(start, subject), shard_bytes(goal, subject), kSmallBytes});
  // Two pending axes are cheaper taken scattered than gathered, if there is a dimension to scatter.
  for (int spare : {pending > 1 ? 1 : 0, 2}) {
    const std::vector<int> dims = open_dims(start, goal, axes, spare, subject);
    if (auto route = Search(goal, subject, axes, dims, limit).run(start)) return *route;
  }
  const std::vector<int> dims = open_dims(start, goal, axes, 0, subject);
  if (auto route = Search(goal, subject, axes, dims, std::numeric_limits<int64_t>::max()).run(start)) return *route;
  return by_way_of_replicas(start, goal, axes, subject);
}

}  // namespace weft::relayout
