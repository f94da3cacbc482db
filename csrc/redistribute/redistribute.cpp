#include "redistribute/redistribute.h"

#include <ATen/ATen.h>
#include <c10/util/hash.h>
#include <weft/cost.h>

#include <algorithm>
#include <unordered_map>

#include "base/profiler_range.h"
#include "comm/lockstep/call.h"
#include "layout/shard.h"
#include "mesh/context.h"
#include "redistribute/memory_order.h"
#include "redistribute/route.h"
#include "tensor/running.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

using relayout::Route;
using relayout::State;
using relayout::Step;
using relayout::Subject;

void check(Layout from, Layout to, c10::IntArrayRef sizes) {
  TORCH_CHECK_VALUE(from->mesh() == to->mesh(), "[W031] redistribute: from ", from->describe(), " to ", to->describe(),
                    ": a tensor cannot move from one mesh to another");
  TORCH_CHECK_VALUE(from->ndim() == to->ndim(), "[W028] redistribute: from ", from->describe(), " to ", to->describe(),
                    ": the layouts have ", from->ndim(), " and ", to->ndim(), " dimensions");
  TORCH_CHECK_VALUE(static_cast<int64_t>(sizes.size()) == to->ndim(), "[W028] redistribute: to ", to->describe(),
                    ": the tensor has ", sizes.size(), " dimensions, the layout has ", to->ndim());
}

bool is_empty(c10::IntArrayRef sizes) { return std::find(sizes.begin(), sizes.end(), 0) != sizes.end(); }

struct RouteKey {
  Layout from;
  Layout to;
  int64_t element_bytes;
  Sizes sizes;
  bool operator==(const RouteKey&) const = default;
};
struct RouteKeyHash {
  size_t operator()(const RouteKey& key) const {
    size_t h = c10::hash_combine(reinterpret_cast<uintptr_t>(key.from), reinterpret_cast<uintptr_t>(key.to));
    h = c10::hash_combine(h, key.element_bytes);
    for (int64_t size : key.sizes) h = c10::hash_combine(h, size);
    return h;
  }
};

// Routes of several steps are searched for once. Forgetting one changes nothing but time.
const Route& cached_route(Layout from, Layout to, const State& start, const State& goal, const Subject& subject) {
  constexpr size_t kMaxRoutes = 1024;
  thread_local std::unordered_map<RouteKey, Route, RouteKeyHash> routes;
  RouteKey key{from, to, subject.element_bytes, Sizes(subject.sizes.begin(), subject.sizes.end())};
  const auto found = routes.find(key);
  if (found != routes.end()) return found->second;
  TORCH_CHECK_VALUE(is_valid(goal, subject), "[W033] redistribute: to ", to->describe(),
                    ": the blocks of a split (the number ",
                    "behind its axis) do not fill their dimension of a tensor of shape ", subject.sizes);
  if (routes.size() >= kMaxRoutes) routes.clear();
  return routes.emplace(std::move(key), find_route(start, goal, subject)).first->second;
}

at::Tensor run_route(at::Tensor x, Layout from, Layout to, const State& start, const State& goal,
                     const relayout::Place& place) {
  const Subject subject{place.mesh, place.sizes, static_cast<int64_t>(x.element_size())};
  if (const auto step = single_step(start, goal, subject)) return run(*step, start, x, place);
  State state = start;
  for (const Step& step : cached_route(from, to, start, goal, subject).steps) {
    x = run(step, state, x, place);
    state = after(step, state);
  }
  TORCH_INTERNAL_ASSERT(state == goal, "no way from ", from->describe(), " to ", to->describe());
  return x;
}

}  // namespace

at::Tensor redistribute_local(const at::Tensor& local, c10::IntArrayRef global_sizes, Layout from, Layout to,
                              c10::IntArrayRef global_strides) {
  if (from == to) return local;
  check(from, to, global_sizes);
  const State start = relayout::state_of(from, global_sizes), goal = relayout::state_of(to, global_sizes);
  if (start == goal) return local;
  // A lazy conjugation or negation stays one, as it does in views of plain tensors: writes through them rely on it.
  if (local.is_conj()) return redistribute_local(local.conj(), global_sizes, from, to, global_strides).conj();
  if (local.is_neg()) return redistribute_local(local._neg_view(), global_sizes, from, to, global_strides)._neg_view();
  const ProfilerRange range(
      [&] { return c10::str("weft::relayout ", from->str(), " -> ", to->str(), RunningFor::now().str()); });
  const c10::IntArrayRef coordinates = context().bind(from->mesh()).coordinates;
  TORCH_INTERNAL_ASSERT(local.sizes().equals(local_sizes(from, global_sizes, coordinates)), "a shard of shape ",
                        local.sizes(), " is not that of a tensor of shape ", global_sizes, " in ", from->describe());

  // With an order that all ranks know the steps run on the dimensions as memory has them, where the shard is
  // contiguous; otherwise on the dimensions as they are, and the result is brought to the order at the end.
  const bool known = !global_strides.empty();
  Sizes order;
  if (known) {
    order = memory_order(global_sizes, global_strides);
  } else if (!local.is_contiguous()) {
    order = memory_order(local.sizes(), local.strides());
  }
  const Sizes position = inverse(order);
  const comm::Moving moving(from, to, global_sizes);
  const relayout::Place place{from->mesh(), global_sizes, coordinates,
                              known ? c10::IntArrayRef(position) : c10::IntArrayRef()};

  at::Tensor x;
  if (is_empty(global_sizes)) {
    x = at::empty(local_sizes(to, global_sizes, coordinates), local.options());
    if (!order.empty()) x = x.permute(order);
  } else if (known && !order.empty()) {
    const at::Tensor first = local.permute(order);
    x = run_route(first, from, to, start, goal, place);
    if (x.is_same(first)) return local;
  } else {
    x = run_route(local, from, to, start, goal, place);
    if (x.is_same(local)) return local;
    if (!order.empty()) x = x.permute(order);
  }
  x = x.contiguous();
  return order.empty() ? x : x.permute(position);
}

at::Tensor owned(at::Tensor local, const at::Tensor& source) {
  // A copy has no lazy conjugation or negation, so no rank's part may: which ranks copy is their own affair.
  local = local.resolve_conj().resolve_neg();
  return is_traced(local) || local.is_alias_of(source) ? local.clone() : local;
}

void redistribute_content(Cell& cell, Layout to) {
  const RunningOp running("reduction", cell.identity.load(std::memory_order_relaxed), cell.path, /*keeps_value=*/true);
  replace_content(cell, redistribute_local(cell.local, cell.geometry.sizes, cell.layout, to, cell.geometry.strides),
                  to);
}

double redistribution_seconds(c10::IntArrayRef global_sizes, int64_t element_bytes, Layout from, Layout to) {
  TORCH_CHECK_VALUE(from != nullptr && to != nullptr, "[W030] redistribution_seconds: no layout given");
  const bool is_shape = std::all_of(global_sizes.begin(), global_sizes.end(), [](int64_t n) { return n >= 0; });
  TORCH_CHECK_VALUE(is_shape && element_bytes > 0, "[W039] redistribution_seconds: a tensor of shape ", global_sizes,
                    " with elements of ", element_bytes, " bytes");
  if (from == to) return 0;
  check(from, to, global_sizes);
  if (is_empty(global_sizes)) return 0;
  const State start = relayout::state_of(from, global_sizes), goal = relayout::state_of(to, global_sizes);
  if (only_slices(start, goal)) return 0;
  const Subject subject{from->mesh(), global_sizes, element_bytes};
  int64_t cost = 0;
  if (const auto step = single_step(start, goal, subject)) {
    cost = relayout::cost(*step, subject.mesh, shard_bytes(start, subject), shard_bytes(after(*step, start), subject));
  } else {
    cost = cached_route(from, to, start, goal, subject).cost;
  }
  return static_cast<double>(cost) * comm::kSecondsPerTick;
}

}  // namespace weft
