#pragma once
// The steps that a redistribution is made of. A step changes what one mesh axis does to the tensor; what it does before
// and after says which step it is:
//   replicated -> split       slice           free
//   split      -> replicated  all-gather
//   split      -> split       all-to-all      to another dimension
//   pending    -> replicated  all-reduce
//   pending    -> split       reduce-scatter
//   replicated -> pending     to-pending      free
// An axis leaves a dimension only as its innermost split and enters it as the innermost, so the order in which axes
// split a dimension limits which steps apply.
#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <weft/layout.h>

#include <array>
#include <compare>
#include <vector>

#include "comm/cost/cost.h"
#include "layout/shard.h"

namespace weft::relayout {

/// A layout as the search for a route sees it: a plain value, without the axes of size 1, which change nothing.
struct State {
  struct Placed {
    int dim = 0;
    int axis = 0;
    int64_t block = 0;
    auto operator<=>(const Placed&) const = default;
  };
  std::array<Placed, kMaxAxes> splits{};  // by dimension, within one major first
  int count = 0;
  TensorLayout::Partial partial{};
  auto operator<=>(const State&) const = default;

  const Placed* begin() const { return splits.data(); }
  const Placed* end() const { return splits.data() + count; }
};

struct Step {
  int axis = 0;
  AxisState from;
  AxisState to;
};

/// What is redistributed, as all ranks know it.
struct Subject {
  Mesh mesh;
  c10::IntArrayRef sizes;  // global
  int64_t element_bytes;
};

State state_of(Layout layout, c10::IntArrayRef sizes);
AxisState axis_state(const State& state, int axis);
/// Bytes of the largest shard (that of the rank whose coordinates are all 0).
int64_t shard_bytes(const State& state, const Subject& subject);

/// Whether the step can be the next one. Its `from` must be what the axis does in `state`.
bool applies(const Step& step, const State& state, const Subject& subject);
/// Whether the blocks of every blocked split fill its dimension.
bool is_valid(const State& state, const Subject& subject);
/// The state behind the step.
State after(const Step& step, const State& state);

/// What the step takes; without a collective: 0. `bytes_before`, `bytes_after`: shard_bytes of the states on both
/// sides.
comm::Ticks cost(const Step& step, Mesh mesh, int64_t bytes_before, int64_t bytes_after);

/// Where a step runs.
struct Place {
  Mesh mesh;
  c10::IntArrayRef sizes;        // global
  c10::IntArrayRef coordinates;  // of this rank
  c10::IntArrayRef position;     // of each dimension among those of the tensor that is passed; empty: the same
};

/// What a step gives to a collective: cut or put together along one dimension, of these lengths on the ranks; and the
/// shape of the shard behind the step.
struct Cut {
  at::Tensor tensor;
  int64_t dim;
  std::vector<int64_t> lengths;
  Sizes sizes;
};
/// A reduce-scatter's, from pending to split.
Cut scatter_of(const Step& step, const at::Tensor& shard, const Place& place);
/// An all-gather's, from split to replicated.
Cut gather_of(const Step& step, const State& state, const at::Tensor& shard, const Place& place);

/// The shard behind the step, of the shard before it. Free steps may return `shard` itself or a view of it.
at::Tensor run(const Step& step, const State& state, const at::Tensor& shard, const Place& place);

}  // namespace weft::relayout
