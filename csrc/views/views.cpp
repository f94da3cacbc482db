#include "views/views.h"

#include <ATen/ops/empty_strided.h>
#include <ATen/ops/index_put.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/permute.h>
#include <ATen/ops/select.h>
#include <ATen/ops/slice.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/view_as_real.h>

#include <algorithm>

#include "mesh/context.h"
#include "redistribute/redistribute.h"
#include "tensor/below_autograd.h"
#include "tensor/traced.h"
#include "views/region.h"

namespace weft {
namespace {

at::Tensor run(const ViewStep& step, const at::Tensor& base) {
  std::vector<c10::IValue> stack{base};
  stack.insert(stack.end(), step.arguments.begin(), step.arguments.end());
  step.op->callBoxed(&stack);
  return step.output < 0 ? stack[0].toTensor() : stack[0].toTensorList().get(step.output);
}

at::Tensor replay(const at::Tensor& root, const ViewStep& step) {
  const at::Tensor base = step.previous ? replay(root, *step.previous) : root;
  BelowAutograd guard;
  return run(step, base);
}
[[maybe_unused]] const bool replay_is_set = (set_replay(&replay), true);

ViewSteps steps_from_root(const at::Tensor& view) {
  ViewSteps steps;
  for (auto step = sharded(view).chain(); step; step = step->previous) steps.push_back(step);
  std::reverse(steps.begin(), steps.end());
  return steps;
}

// What of a range of one dimension lies in this rank's part: at which positions of the range, and where in the shard.
struct Held {
  std::vector<int64_t> positions, places;

  /// Whether a slice of the one is a slice of the other: not where the parts of blocks cut the range.
  bool is_even() const {
    for (size_t k = 1; k < places.size(); ++k) {
      if (places[k] - places[k - 1] != places[1] - places[0] || positions[k] - positions[k - 1] != 1) return false;
    }
    return places.size() < 2 || places[1] > places[0];
  }
};

Held held_of(const Range& r, const std::vector<IndexRange>& runs) {
  Held held;
  int64_t place = 0;
  for (const IndexRange& run : runs) {
    for (int64_t k = 0; k < r.length; ++k) {
      const int64_t index = r.start + k * r.step;
      if (index < run.start || index >= run.start + run.length) continue;
      held.positions.push_back(k);
      held.places.push_back(place + index - run.start);
    }
    place += run.length;
  }
  return held;
}

// `value` has the dimensions of the ranges along which the view runs, in their order.
void write_slices(const at::Tensor& shard, const std::vector<Range>& ranges, const std::vector<Held>& held,
                  at::Tensor value) {
  at::Tensor target = shard;
  int64_t at = 0;  // dimension of `value`, and of `target`
  for (size_t d = 0; d < ranges.size(); ++d) {
    const auto& [positions, places] = held[d];
    if (ranges[d].view_dim < 0) {
      target = target.select(at, places[0]);
      continue;
    }
    const int64_t step = places.size() > 1 ? places[1] - places[0] : 1;
    target = target.slice(at, places.front(), places.back() + 1, step);
    value = value.slice(at, positions.front(), positions.back() + 1);
    ++at;
  }
  target.copy_(value);
}

void write_each(const at::Tensor& shard, const std::vector<Range>& ranges, const std::vector<Held>& held,
                at::Tensor value) {
  const auto options = at::TensorOptions().dtype(at::kLong).device(shard.device());
  c10::List<std::optional<at::Tensor>> indices;
  for (size_t d = 0; d < ranges.size(); ++d) {
    const auto dim = static_cast<int64_t>(d);
    if (ranges[d].view_dim < 0) {
      value = value.unsqueeze(dim);
    } else {
      value = value.index_select(dim, at::tensor(held[d].positions, options));
    }
    Sizes sizes(ranges.size(), 1);
    sizes[d] = static_cast<int64_t>(held[d].places.size());
    indices.push_back(at::tensor(held[d].places, options).view(sizes));
  }
  shard.index_put_(indices, value.to(shard.scalar_type()));
}

// Writes `value` (whole, in the view's dimensions) into the region of the root's shard.
void write_region(const at::Tensor& shard, Layout layout, const Geometry& root, const std::vector<Range>& ranges,
                  at::Tensor value, c10::IntArrayRef coordinates) {
  // The view's dimensions in the order of the root's.
  std::vector<int64_t> order;
  for (const Range& r : ranges) {
    if (r.view_dim >= 0) order.push_back(r.view_dim);
  }
  for (int64_t v = value.dim() - 1; v >= 0; --v) {
    if (std::find(order.begin(), order.end(), v) != order.end()) continue;
    value = value.select(v, 0);  // length 1 or broadcast
    for (int64_t& o : order) o -= o > v;
  }
  value = value.permute(order);
  std::vector<Held> held;
  bool even = true;
  for (size_t d = 0; d < ranges.size(); ++d) {
    held.push_back(held_of(ranges[d], local_indices(layout, static_cast<int64_t>(d), root.sizes[d], coordinates)));
    if (held.back().places.empty()) return take_nothing(shard, value);
    even = even && held.back().is_even();
  }
  even ? write_slices(shard, ranges, held, value) : write_each(shard, ranges, held, value);
}

// The root as a view with another dtype sees it: a complex one with its real and imaginary parts as a last dimension.
struct Root {
  at::Tensor shard;
  Layout layout;
  Geometry geometry;
};

Root root_seen_by(const Cell& cell, const at::Tensor& view) {
  Root root{cell.local, cell.layout, cell.geometry};
  if (view.scalar_type() == cell.local.scalar_type()) return root;
  TORCH_CHECK_NOT_IMPLEMENTED(
      cell.local.is_complex() && view.scalar_type() == c10::toRealValueType(cell.local.scalar_type()),
      "[W065] cannot carry a write through this view back to its base: the view is of ", view.scalar_type(),
      ", the base of ", cell.local.scalar_type(), "; write to the base, or to a clone() of the view");
  root.shard = at::view_as_real(cell.local);
  TensorLayout::Dims dims = cell.layout->dims();
  dims.emplace_back();
  root.layout = TensorLayout::get(cell.layout->mesh(), std::move(dims), cell.layout->partial());
  for (int64_t& s : root.geometry.strides) s *= 2;
  root.geometry.sizes.push_back(2);
  root.geometry.strides.push_back(1);
  root.geometry.offset *= 2;
  return root;
}

// Which of the values of elements that are one is meant, a new whole value does not tell.
void refuse_expanded(const at::Tensor& view) {
  if (view.numel() == 0) return;
  for (int64_t d = 0; d < view.dim(); ++d) {
    TORCH_CHECK_NOT_IMPLEMENTED(view.size(d) < 2 || view.stride(d) != 0,
                                "[W065] cannot carry a write through this view back to its base: its dimension ", d,
                                ", of length ", view.size(d),
                                ", is expanded; write to the base, or to a clone() of the view");
  }
}

// One of each of the elements that are one in memory of these strides.
at::Tensor without_expanded(at::Tensor value, at::IntArrayRef strides) {
  for (int64_t d = 0; d < value.dim(); ++d) {
    if (strides[d] == 0 && value.size(d) > 1) value = value.narrow(d, 0, 1);
  }
  return value;
}

// Writes `value`, the full tensor of what `view` now is, into the shard of its root.
void carry_back(const Cell& cell, const at::Tensor& view, at::Tensor value) {
  TORCH_INTERNAL_ASSERT(!cell.layout->has_partial(), "a write through a view into a pending sum");
  if (value.numel() == 0) return;
  const Root root = root_seen_by(cell, view);
  if (view.is_complex() && view.is_conj() != root.shard.is_conj()) value = value.conj();
  if (view.is_neg() != root.shard.is_neg()) value = value.neg();
  const Geometry geometry = sharded(view).geometry();
  if (const auto ranges = decode_region(root.geometry, geometry)) {
    const auto& coordinates = context().bind(root.layout->mesh()).coordinates;
    return write_region(root.shard, root.layout, root.geometry, *ranges, std::move(value), coordinates);
  }
  // It folds or splits dimensions: by way of the full tensor in its own memory order.
  const Layout replicated = TensorLayout::replicated(root.layout->mesh(), root.layout->ndim());
  at::Tensor memory = at::empty_strided(root.geometry.sizes, root.geometry.strides, root.shard.options());
  memory.copy_(redistribute_local(root.shard, root.geometry.sizes, root.layout, replicated));
  const at::Tensor region = memory.as_strided(geometry.sizes, geometry.strides, geometry.offset - root.geometry.offset);
  without_expanded(region, geometry.strides).copy_(without_expanded(value, geometry.strides));
  root.shard.copy_(redistribute_local(memory, root.geometry.sizes, replicated, root.layout));
}

}  // namespace

at::Tensor wrap_view(const OpInfo& op, c10::ArrayRef<c10::IValue> arguments, const at::Tensor& base,
                     const at::Tensor& ran_on, at::Tensor local, Layout layout, const Geometry& geometry, int element) {
  const ShardedTensorImpl& impl = sharded(base);
  auto step = c10::make_intrusive<ViewStep>();
  step->previous = impl.chain();
  step->op = &op.handle;
  step->arguments.assign(arguments.begin(), arguments.end());
  step->output = element;
  const bool moved = impl.is_moved() || !ran_on.is_same(impl.local());
  return make_view(impl, std::move(local), layout, geometry, std::move(step), moved);
}

at::Tensor share(const at::Tensor& self) { return at::Tensor(sharded(self).alias()); }

std::optional<ViewSteps> steps_between(const at::Tensor& base, const at::Tensor& view) {
  if (sharded(base).shared_cell() != sharded(view).shared_cell()) return std::nullopt;
  const ViewSteps to_base = steps_from_root(base), to_view = steps_from_root(view);
  const auto end = std::mismatch(to_base.begin(), to_base.end(), to_view.begin(), to_view.end());
  if (end.first != to_base.end()) return std::nullopt;
  return ViewSteps(end.second, to_view.end());
}

bool are_tied(const at::Tensor& a, const at::Tensor& b) {
  if (!sharded(a).is_moved() && !sharded(b).is_moved()) return false;
  const ViewSteps one = steps_from_root(a), other = steps_from_root(b);
  const auto [p, q] = std::mismatch(one.begin(), one.end(), other.begin(), other.end());
  if (p == one.end() || q == other.end()) return true;
  const ViewStep &to_a = **p, &to_b = **q;
  return to_a.op != to_b.op || to_a.output == to_b.output || to_a.arguments != to_b.arguments;
}

at::Tensor root_of(const at::Tensor& view) {
  const ShardedTensorImpl& impl = sharded(view);
  if (!impl.chain()) return share(view);
  impl.local();  // what the cell waits for is here from now on
  const Cell& cell = impl.cell();
  return make_view(impl, cell.local, cell.layout, cell.geometry, nullptr, /*moved=*/false);
}

at::Tensor view_again(const at::Tensor& base, const ViewSteps& steps) {
  at::Tensor view = base;
  for (const auto& step : steps) view = run(*step, view);
  return view;
}

void write_into(const at::Tensor& tensor, const at::Tensor& value, Layout from, bool alike) {
  ShardedTensorImpl& impl = sharded(tensor);
  BelowAutograd guard;
  if (!impl.is_moved()) {
    if (from == impl.layout() && value.is_same(impl.local())) return impl.wrote();
    if (!alike) refuse_expanded(tensor);
    const at::Tensor part = redistribute_local(value, tensor.sizes(), from, impl.layout());
    const at::Tensor& own = impl.local();
    if (!part.is_same(own)) without_expanded(own, own.strides()).copy_(without_expanded(part, own.strides()));
    impl.wrote();
    return;
  }
  if (!alike) refuse_expanded(tensor);
  Cell& root = impl.cell();
  // A part of a pending sum cannot be written.
  if (root.layout->has_partial()) redistribute_content(root, root.layout->without_partial());
  carry_back(root, tensor,
             redistribute_local(value, tensor.sizes(), from, TensorLayout::replicated(from->mesh(), tensor.dim())));
  impl.wrote();
  // Its own copy is made anew when next read.
  root.writes.fetch_add(1, std::memory_order_acq_rel);
}

bool reduce_for_all_aliases(ShardedTensorImpl& impl, Layout to) {
  Cell& cell = impl.cell();
  if (impl.chain() && impl.geometry().numel() != cell.geometry.numel()) return false;
  TensorLayout::Partial left = cell.layout->partial();
  for (int a = 0; a < to->mesh()->ndim(); ++a) {
    if (to->partial()[a] == Reduction::none) left[a] = Reduction::none;
  }
  if (left == cell.layout->partial()) return false;
  BelowAutograd guard;
  redistribute_content(cell, TensorLayout::get(to->mesh(), cell.layout->dims(), left));
  return true;
}

}  // namespace weft
