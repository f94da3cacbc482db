#include "redistribute/steps.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "comm/wire/collectives.h"
#include "layout/shard.h"
#include "tensor/traced.h"

namespace weft::relayout {
namespace {

int index_of(const State& state, int axis) {
  for (int i = 0; i < state.count; ++i) {
    if (state.splits[i].axis == axis) return i;
  }
  return -1;
}

bool is_innermost(const State& state, int index) {
  return index + 1 == state.count || state.splits[index + 1].dim != state.splits[index].dim;
}

int64_t part_length(int64_t length, int64_t parts, int64_t index, int64_t block) {
  if (block == 0) return chunk_length(length, parts, index);
  return length / block * chunk_length(block, parts, index);
}

// Length of a dimension on the rank at `coordinates`; null: on the one whose coordinates are all 0.
int64_t length_of(const State& state, Mesh mesh, int64_t size, int dim, const int64_t* coordinates) {
  for (const State::Placed& split : state) {
    if (split.dim != dim) continue;
    size = part_length(size, mesh->axis_size(split.axis), coordinates ? coordinates[split.axis] : 0, split.block);
  }
  return size;
}

// Whether blocks of that length fill the dimension on every rank. The chunks of one length have at most two lengths
// apart from 0, so few are ever looked at, however many ranks there are.
bool blocks_fit(const State& state, const Subject& subject, int dim, int64_t block) {
  c10::SmallVector<int64_t, 8> lengths{subject.sizes[dim]};
  for (const State::Placed& split : state) {
    if (split.dim != dim) continue;
    c10::SmallVector<int64_t, 8> next;
    const int64_t parts = subject.mesh->axis_size(split.axis);
    for (int64_t length : lengths) {
      const int64_t divided = split.block == 0 ? length : split.block;
      const int64_t full = std::max<int64_t>(1, chunk_length(divided, parts, 0));
      const int64_t last = std::min(parts - 1, divided / full);  // the first chunk that is not full, if one is not
      for (int64_t index : {int64_t{0}, last}) {
        const int64_t part = part_length(length, parts, index, split.block);
        if (std::find(next.begin(), next.end(), part) == next.end()) next.push_back(part);
      }
    }
    lengths = std::move(next);
  }
  return std::all_of(lengths.begin(), lengths.end(), [&](int64_t length) { return length % block == 0; });
}

bool commute(Reduction a, Reduction b) {
  auto linear = [](Reduction r) { return r == Reduction::sum || r == Reduction::avg; };
  return a == b || (linear(a) && linear(b));
}

// Pending reductions of kinds that do not commute (a sum over one axis, a maximum over another) are taken from the last
// mesh axis to the first; kinds that commute, in any order.
bool may_reduce(const State& state, int axis) {
  for (int other = axis + 1; other < kMaxAxes; ++other) {
    if (state.partial[other] != Reduction::none && !commute(state.partial[axis], state.partial[other])) return false;
  }
  return true;
}

// The parts of all ranks of an axis: of one block where there are blocks.
std::vector<int64_t> parts_of(int64_t length, int64_t parts, int64_t block) {
  std::vector<int64_t> out(parts);
  for (int64_t i = 0; i < parts; ++i) out[i] = chunk_length(block == 0 ? length : block, parts, i);
  return out;
}

// One dimension that a step cuts or puts together.
struct Side {
  int64_t dim = -1;  // of the tensor at hand; -1: none
  int64_t block = 0;
  int64_t length = 0;  // its length without the step's split, on this rank
};

struct Unfolded {
  at::Tensor tensor;
  int64_t from;
  int64_t to;
};

// `x` with blocked dimensions seen as (blocks, within the block), and where the sides are then. `x` holds parts along
// `from` and the full length along `to`.
Unfolded unfold(const at::Tensor& x, const Side& from, const Side& to, int64_t parts, int64_t index) {
  if (from.block == 0 && to.block == 0) return {x, from.dim, to.dim};
  Unfolded out{x, -1, -1};
  Sizes sizes;
  for (int64_t d = 0; d < x.dim(); ++d) {
    const bool is_from = d == from.dim, is_to = d == to.dim;
    if (is_from && from.block > 0) {
      sizes.push_back(from.length / from.block);
      sizes.push_back(chunk_length(from.block, parts, index));
    } else if (is_to && to.block > 0) {
      sizes.push_back(to.length / to.block);
      sizes.push_back(to.block);
    } else {
      sizes.push_back(x.size(d));
    }
    if (is_from) out.from = static_cast<int64_t>(sizes.size()) - 1;
    if (is_to) out.to = static_cast<int64_t>(sizes.size()) - 1;
  }
  out.tensor = x.view(sizes);
  return out;
}

// The sizes of the shard behind the step; `x` is the one before it.
Sizes folded(const at::Tensor& x, const Side& from, const Side& to, int64_t parts, int64_t index) {
  Sizes sizes(x.sizes().begin(), x.sizes().end());
  if (from.dim >= 0) sizes[from.dim] = from.length;
  if (to.dim >= 0) sizes[to.dim] = part_length(to.length, parts, index, to.block);
  return sizes;
}

int64_t position(const Place& place, int dim) { return place.position.empty() ? dim : place.position[dim]; }

// Where a step cuts.
Side cut(const Step& step, const at::Tensor& x, const Place& place) {
  Side to;
  to.dim = position(place, step.to.dim);
  to.block = step.to.block;
  to.length = x.size(to.dim);
  return to;
}

// Where a step puts parts together.
Side joined(const Step& step, const State& state, const Place& place) {
  Side from;
  from.dim = position(place, step.from.dim);
  from.block = step.from.block;
  State without = state;
  without.splits[index_of(state, step.axis)].dim = -1;
  from.length = length_of(without, place.mesh, place.sizes[step.from.dim], step.from.dim, place.coordinates.data());
  return from;
}

// The replicated value as a pending one. What does not add up (avg, max, min) may stay on all ranks.
at::Tensor make_pending(const at::Tensor& x, Reduction reduction, int64_t index) {
  switch (reduction) {
    case Reduction::sum:
    case Reduction::norm2:
      return index == 0 ? x : filled_like(x, 0);
    case Reduction::product:
      return index == 0 ? x : filled_like(x, 1);
    default:
      return x;
  }
}

}  // namespace

State state_of(Layout layout, c10::IntArrayRef sizes) {
  State state;
  Mesh mesh = layout->mesh();
  for (int d = 0; d < static_cast<int>(sizes.size()); ++d) {
    bool first = true;
    for (const Split& split : layout->dim(d)) {
      if (mesh->axis_size(split.axis) == 1) continue;
      const bool one_block = first && split.block == sizes[d];
      state.splits[state.count++] = {d, split.axis, one_block ? 0 : split.block};
      first = false;
    }
  }
  state.partial = layout->partial();
  return state;
}

AxisState axis_state(const State& state, int axis) {
  if (state.partial[axis] != Reduction::none) return {AxisState::partial, -1, 0, state.partial[axis]};
  const int index = index_of(state, axis);
  if (index < 0) return {};
  return {AxisState::split, state.splits[index].dim, state.splits[index].block, Reduction::none};
}

int64_t shard_bytes(const State& state, const Subject& subject) {
  int64_t bytes = subject.element_bytes;
  const State::Placed* split = state.begin();
  for (int d = 0; d < static_cast<int>(subject.sizes.size()); ++d) {
    int64_t length = subject.sizes[d];
    for (; split != state.end() && split->dim == d; ++split) {
      length = part_length(length, subject.mesh->axis_size(split->axis), 0, split->block);
    }
    bytes *= length;
  }
  return bytes;
}

bool applies(const Step& step, const State& state, const Subject& subject) {
  switch (step.from.kind) {
    case AxisState::replicated:
      if (step.to.kind == AxisState::replicated) return false;
      // Reductions that are taken before must leave the identity alone.
      if (step.to.kind == AxisState::partial && !may_reduce(after(step, state), step.axis)) return false;
      break;
    case AxisState::split:
      if (step.to.kind == AxisState::partial) return false;
      if (step.to.kind == AxisState::split && step.to.dim == step.from.dim) return false;
      if (!is_innermost(state, index_of(state, step.axis))) return false;
      break;
    case AxisState::partial:
      if (step.to.kind == AxisState::partial || !may_reduce(state, step.axis)) return false;
      break;
  }
  return step.to.block == 0 || blocks_fit(state, subject, step.to.dim, step.to.block);
}

bool is_valid(const State& state, const Subject& subject) {
  State outer;
  for (const State::Placed& split : state) {
    if (split.block > 0 && !blocks_fit(outer, subject, split.dim, split.block)) return false;
    outer.splits[outer.count++] = split;
  }
  return true;
}

State after(const Step& step, const State& state) {
  State out = state;
  if (step.from.kind == AxisState::split) {
    auto* removed = out.splits.begin() + index_of(out, step.axis);
    std::copy(removed + 1, out.splits.begin() + out.count, removed);
    out.splits[--out.count] = {};
  }
  out.partial[step.axis] = step.to.reduction;
  if (step.to.kind == AxisState::split) {
    int i = out.count++;
    for (; i > 0 && out.splits[i - 1].dim > step.to.dim; --i) out.splits[i] = out.splits[i - 1];
    out.splits[i] = {step.to.dim, step.axis, step.to.block};
  }
  return out;
}

comm::Ticks cost(const Step& step, Mesh mesh, int64_t bytes_before, int64_t bytes_after) {
  if (step.from.kind == AxisState::replicated) return 0;
  const bool pending = step.from.kind == AxisState::partial, replicated = step.to.kind == AxisState::replicated;
  const comm::Moves moves = pending ? (replicated ? comm::Moves::all_reduce : comm::Moves::reduce_scatter)
                                    : (replicated ? comm::Moves::all_gather : comm::Moves::all_to_all);
  return comm::cost_of(mesh).axes[step.axis].of(moves, std::max(bytes_before, bytes_after));
}

Cut scatter_of(const Step& step, const at::Tensor& x, const Place& place) {
  const int64_t parts = place.mesh->axis_size(step.axis), index = place.coordinates[step.axis];
  const Side to = cut(step, x, place);
  const Unfolded u = unfold(x, {}, to, parts, index);
  return {u.tensor, u.to, parts_of(to.length, parts, to.block), folded(x, {}, to, parts, index)};
}

Cut gather_of(const Step& step, const State& state, const at::Tensor& x, const Place& place) {
  const int64_t parts = place.mesh->axis_size(step.axis), index = place.coordinates[step.axis];
  const Side from = joined(step, state, place);
  const Unfolded u = unfold(x, from, {}, parts, index);
  return {u.tensor, u.from, parts_of(from.length, parts, from.block), folded(x, from, {}, parts, index)};
}

at::Tensor run(const Step& step, const State& state, const at::Tensor& x, const Place& place) {
  const int64_t parts = place.mesh->axis_size(step.axis), index = place.coordinates[step.axis];
  const bool slice = step.from.kind == AxisState::replicated && step.to.kind == AxisState::split;
  if (step.to.kind == AxisState::partial) return make_pending(x, step.to.reduction, index);
  if (step.from.kind == AxisState::partial) {
    if (step.to.kind == AxisState::replicated) return comm::all_reduce(x, step.from.reduction, place.mesh, step.axis);
    const Cut s = scatter_of(step, x, place);
    return comm::reduce_scatter(s.tensor, s.dim, s.lengths, step.from.reduction, place.mesh, step.axis)
        .reshape(s.sizes);
  }

  Side from, to;
  if (step.from.kind == AxisState::split) from = joined(step, state, place);
  if (step.to.kind == AxisState::split) to = cut(step, x, place);
  const Unfolded u = unfold(x, from, to, parts, index);
  at::Tensor y;
  if (slice) {
    const int64_t length = u.tensor.size(u.to), start = chunk_start(length, parts, index);
    y = u.tensor.slice(u.to, start, start + chunk_length(length, parts, index));
  } else if (step.to.kind == AxisState::replicated) {
    y = comm::all_gather(u.tensor, u.from, parts_of(from.length, parts, from.block), place.mesh, step.axis);
  } else {
    y = comm::all_to_all(u.tensor, u.to, parts_of(to.length, parts, to.block), u.from,
                         parts_of(from.length, parts, from.block), place.mesh, step.axis);
  }
  return from.block == 0 && to.block == 0 ? y : y.reshape(folded(x, from, to, parts, index));
}

}  // namespace weft::relayout
