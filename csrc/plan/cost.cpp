#include "plan/cost.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "local/halo.h"
#include "plan/written.h"

namespace weft {

using rules::BoundRule;

namespace {

// Seconds per collective and per byte, equal on all ranks whatever the machine: plans must agree.
constexpr double kAlpha = 20e-6, kBeta = 1e-10;
constexpr double kSecondsPerProduct = 1e-11;  // of a contraction

bool same(const AxisState& a, const AxisState& b) {
  return a.kind == b.kind && a.dim == b.dim && a.block == b.block && a.reduction == b.reduction;
}

// Seconds to bring a tensor from one state to the other.
double change_cost(const AxisState& from, const AxisState& to, double bytes, double n) {
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
  const int fetches = !backward || window.kind == Window::Kind::convolution,
            returns = backward && call.results[0].defined;
  return (fetches + returns) * (kAlpha + bytes * kBeta);
}

}  // namespace

double move_cost(const Call& call, const BoundRule& bound, int axis, const AxisChoice& choice,
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
    if (!bound.tensors[i].shape_only && !stays) cost += change_cost(now, target.state, group_bytes(t, axis), n);
    if (t.written) {
      const int r = written_result(call, t);
      const AxisState after = r < 0 || stays ? (stays ? now : target.state) : result_state(bound, r, choice).state;
      cost += change_cost(after, now, group_bytes(t, axis), n);
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

double product_cost(const BoundRule& bound) {
  double products = 0;
  for (const auto& f : bound.factors) {
    if (f.contracted && f.reduction == Reduction::sum && !f.masked) products = 1;
  }
  if (products == 0 || bound.tensors.size() < 2) return 0;
  for (const auto& f : bound.factors) products *= static_cast<double>(std::max<int64_t>(f.size, 1));
  return products * kSecondsPerProduct;
}

}  // namespace weft
