#include "plan/cost.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <optional>

#include "comm/cost/cost.h"
#include "local/halo.h"
#include "plan/written.h"

namespace weft {

using comm::Moves;
using rules::BoundRule;

namespace {

bool same(const AxisState& a, const AxisState& b) {
  return a.kind == b.kind && a.dim == b.dim && a.block == b.block && a.reduction == b.reduction;
}

// Seconds to bring a tensor from one state to the other. `bytes`: that the ranks of the axis hold together.
double change_cost(const AxisState& from, const AxisState& to, double bytes, const comm::AxisCost& axis) {
  if (same(from, to) || from.kind == AxisState::replicated) return 0;
  if (from.kind == AxisState::split) {
    if (to.kind != AxisState::split) return axis.seconds(Moves::all_gather, bytes);
    return axis.seconds(Moves::all_to_all, bytes / static_cast<double>(axis.ranks()));
  }
  if (to.kind == AxisState::replicated) return axis.seconds(Moves::all_reduce, bytes);
  const double scatter = axis.seconds(Moves::reduce_scatter, bytes);
  return to.kind == AxisState::split ? scatter : scatter + axis.seconds(Moves::all_gather, bytes);
}

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

// The way of an operand: where it is, where the op reads it, and of a written one where the op leaves it.
struct Way {
  AxisState now, target, after;
};

// None where the choice is not valid.
std::optional<Way> way_of(const Call& call, const BoundRule& bound, int i, int axis, const AxisChoice& choice) {
  const TensorInfo& t = call.tensors[i];
  const ChoiceState target = tensor_state(bound, i, choice);
  if (!target.ok) return std::nullopt;
  const AxisState now = state_now(t, axis);
  if (bound.tensors[i].stays && !same(now, target.state)) return std::nullopt;
  // In a folded dimension it is the factor that counts, not the block.
  if (now.kind == AxisState::split && target.state.kind == AxisState::split && now.dim == target.state.dim &&
      bound.tensors[i].dims[now.dim].size() > 1 &&
      split_factor(bound, bound.tensors[i], t.layout, axis) == choice.factor) {
    return Way{now, now, now};
  }
  const int r = t.written ? written_result(call, t) : -1;
  return Way{now, target.state, r < 0 ? target.state : result_state(bound, r, choice).state};
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
  const int fetches = !backward || window.kind == Window::Kind::convolution,
            returns = backward && call.results[0].defined;
  // They are as many as a rank sends in an exchange of twice as much between two.
  const comm::AxisCost& links = comm::cost_of(call.mesh).axes[axis];
  return (fetches + returns) * links.seconds(Moves::all_to_all, bytes * links.ranks() / (links.ranks() - 1.0));
}

}  // namespace

Flow flow_of(const Call& call, const BoundRule& bound, int axis) {
  Flow flow;
  double largest = 0;
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (!t.defined || !bound.tensors[i].ruled || state_now(t, axis).kind != AxisState::split) continue;
    flow.meets_variable |= t.variable;
    if (t.variable || static_cast<double>(t.bytes()) <= largest) continue;
    flow.factor = split_factor(bound, bound.tensors[i], t.layout, axis);
    largest = static_cast<double>(t.bytes());
  }
  return flow;
}

double return_cost(const Call& call, const BoundRule& bound, int axis, const AxisChoice& choice, const Flow& flow,
                   const std::vector<AxisChoice>& chosen) {
  if (flow.factor < 0 || choice.kind != AxisChoice::split || choice.factor == flow.factor) return 0;
  const AxisChoice as_it_flows{AxisChoice::split, flow.factor, 0, Reduction::none, nullptr};
  double cost = 0;
  for (size_t r = 0; r < call.results.size(); ++r) {
    const int result = static_cast<int>(r);
    if (!call.results[r].defined || written_argument(call, call.results[r]) >= 0) continue;
    const AxisState now = result_state(bound, result, choice).state;
    const ChoiceState back = result_state(bound, result, as_it_flows);
    if (now.kind != AxisState::split || !back.ok || back.state.kind != AxisState::split) continue;
    cost += change_cost(now, back.state, result_bytes(call, bound, result, axis, chosen),
                        comm::cost_of(call.mesh).axes[axis]);
  }
  return cost;
}

double move_cost(const Call& call, const BoundRule& bound, int axis, const AxisChoice& choice, const Flow& flow,
                 const std::vector<AxisChoice>& chosen) {
  const comm::AxisCost& links = comm::cost_of(call.mesh).axes[axis];
  double cost = halo_cost(call, bound, axis, choice);
  if (flow.meets_variable) cost += return_cost(call, bound, axis, choice, flow, chosen);
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (!t.defined) continue;
    const auto way = way_of(call, bound, static_cast<int>(i), axis, choice);
    if (!way) return -1;
    if (!bound.tensors[i].shape_only) cost += change_cost(way->now, way->target, group_bytes(t, axis), links);
    if (t.written) {
      cost += change_cost(way->after, way->now, group_bytes(t, axis), links);
      // A value brought to "pending" costs a reduction at the next reader.
      if (!same(way->after, way->now)) cost += links.seconds(Moves::all_reduce, 0);
    }
  }
  std::optional<double> pending;  // bytes of all results together, as they are reduced: with each other, or in a bucket
  for (size_t r = 0; r < call.results.size(); ++r) {
    if (!call.results[r].defined) continue;
    const ChoiceState target = result_state(bound, static_cast<int>(r), choice);
    if (!target.ok) return -1;
    if (target.state.kind == AxisState::partial && written_argument(call, call.results[r]) < 0) {
      pending = pending.value_or(0) + result_bytes(call, bound, static_cast<int>(r), axis, chosen);
    }
  }
  if (pending) {
    // A sum over what flows alone is most often a variable's gradient, which is scattered in the end.
    cost += links.seconds(flow.meets_variable || flow.factor < 0 ? Moves::all_reduce : Moves::reduce_scatter, *pending);
  }
  return cost;
}

bool moves_what_stays(const Call& call, const BoundRule& bound, int axis, const AxisChoice& choice) {
  const auto leaves = [](const AxisState& from, const AxisState& to) {
    return from.kind == AxisState::split && !same(from, to);
  };
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (!t.defined || !t.stays) continue;
    const auto way = way_of(call, bound, static_cast<int>(i), axis, choice);
    if (!way) return true;
    if (!bound.tensors[i].shape_only && leaves(way->now, way->target)) return true;
    if (t.written && leaves(way->after, way->now)) return true;
  }
  return false;
}

double product_cost(const Call& call, const BoundRule& bound) {
  double products = 0;
  for (const auto& f : bound.factors) {
    if (f.contracted && f.reduction == Reduction::sum && !f.masked) products = 1;
  }
  if (products == 0 || bound.tensors.size() < 2) return 0;
  for (const auto& f : bound.factors) products *= static_cast<double>(std::max<int64_t>(f.size, 1));
  return products * comm::cost_of(call.mesh).seconds_per_product;
}

}  // namespace weft
