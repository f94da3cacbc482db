// From a call to its plan: bind a rule, let each mesh axis choose, put the choices together into layouts.
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <map>

#include "plan/axis.h"
#include "plan/plan.h"
#include "rules/registry.h"

namespace weft {

using rules::BoundRule;

bool fits(Layout layout, c10::IntArrayRef sizes) {
  for (int64_t d = 0; d < layout->ndim(); ++d) {
    int64_t size = sizes[d];
    bool even = true;
    for (const Split& split : layout->dim(d)) {
      const int64_t parts = layout->mesh()->axis_size(split.axis);
      if (split.block == 0) {
        even = even && size % parts == 0;
        size = (size + parts - 1) / parts;
      } else {
        if (!even || size % split.block != 0) return false;
        even = split.block % parts == 0;
        size = size / split.block * ((split.block + parts - 1) / parts);
      }
    }
  }
  return true;
}

namespace {

// The order in which axes split one factor: as in the largest tensor that already has them there.
std::vector<int> factor_order(const Call& call, const BoundRule& bound, int factor,
                              const std::vector<AxisChoice>& choices) {
  std::vector<int> axes;
  for (size_t a = 0; a < choices.size(); ++a) {
    if (choices[a].kind == AxisChoice::split && choices[a].factor == factor) axes.push_back(static_cast<int>(a));
  }
  if (axes.size() < 2) return axes;
  int64_t best_bytes = -1;
  std::vector<int> best;
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (!t.defined || t.layout == nullptr) continue;
    for (size_t d = 0; d < bound.tensors[i].dims.size(); ++d) {
      const auto& dim = bound.tensors[i].dims[d];
      if (std::find(dim.begin(), dim.end(), factor) == dim.end()) continue;
      std::vector<int> order;
      for (const Split& s : t.layout->dim(static_cast<int64_t>(d))) {
        if (std::find(axes.begin(), axes.end(), s.axis) != axes.end()) order.push_back(s.axis);
      }
      if (order.size() < 2) continue;
      if (order.size() > best.size() || (order.size() == best.size() && t.bytes() > best_bytes)) {
        best = order;
        best_bytes = t.bytes();
      }
    }
  }
  for (int a : axes) {
    if (std::find(best.begin(), best.end(), a) == best.end()) best.push_back(a);
  }
  return best;
}

// The layout of a tensor (state of each axis, dims of the bound rule) with axes in their factors' order.
Layout compose(const Call& call, const BoundRule& bound, const BoundRule::Tensor& t,
               const std::vector<ChoiceState>& states, const std::map<int, std::vector<int>>& orders) {
  TensorLayout::Dims dims(t.dims.size());
  TensorLayout::Partial partial{};
  for (size_t d = 0; d < t.dims.size(); ++d) {
    const BoundRule::Dim& dim = t.dims[d];
    c10::SmallVector<int64_t, 4> left;  // of each factor, after the splits so far
    for (int f : dim) left.push_back(bound.factors[f].size);
    for (size_t k = 0; k < dim.size(); ++k) {
      auto it = orders.find(dim[k]);
      if (it == orders.end()) continue;
      for (int a : it->second) {
        const AxisState& s = states[a].state;
        if (s.kind != AxisState::split || s.dim != static_cast<int>(d)) continue;
        int64_t block = dim.size() == 1 ? s.block : 0;
        // A minor factor of a folded dimension is split inside blocks of it and what is minor to it.
        if (k > 0) {
          block = 1;
          for (size_t j = k; j < dim.size(); ++j) block *= left[j];
        }
        dims[d].push_back({a, block});
        const int64_t parts = call.mesh->axis_size(a);
        left[k] = (left[k] + parts - 1) / parts;
      }
    }
  }
  for (size_t a = 0; a < states.size(); ++a) {
    if (states[a].state.kind == AxisState::partial) partial[a] = states[a].state.reduction;
  }
  return TensorLayout::get(call.mesh, std::move(dims), partial);
}

struct Layouts {
  std::vector<Layout> tensors, results;
  bool ok = true;
};

Layouts compose_all(const Call& call, const BoundRule& bound, const std::vector<AxisChoice>& choices) {
  std::map<int, std::vector<int>> orders;
  for (const AxisChoice& c : choices) {
    if (c.kind == AxisChoice::split && !orders.count(c.factor)) {
      orders[c.factor] = factor_order(call, bound, c.factor, choices);
    }
  }
  Layouts out;
  std::vector<ChoiceState> states(choices.size());
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    if (!call.tensors[i].defined) {
      out.tensors.push_back(nullptr);
      continue;
    }
    for (size_t a = 0; a < choices.size(); ++a) states[a] = tensor_state(bound, static_cast<int>(i), choices[a]);
    out.tensors.push_back(compose(call, bound, bound.tensors[i], states, orders));
    out.ok = out.ok && fits(out.tensors.back(), call.tensors[i].geometry.sizes);
  }
  for (size_t r = 0; r < call.results.size(); ++r) {
    if (!call.results[r].defined) {
      out.results.push_back(nullptr);
      continue;
    }
    for (size_t a = 0; a < choices.size(); ++a) states[a] = result_state(bound, static_cast<int>(r), choices[a]);
    out.results.push_back(compose(call, bound, bound.results[r], states, orders));
    out.ok = out.ok && fits(out.results.back(), call.results[r].geometry.sizes);
  }
  return out;
}

rules::Composite composite_for_split(const Call& call, const BoundRule& bound) {
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    if (!call.tensors[i].defined || call.tensors[i].layout == nullptr || !bound.tensors[i].ruled) continue;
    if (call.tensors[i].geometry.numel() == 0) continue;  // nothing to move, and core's own answer for nothing
    for (size_t d = 0; d < bound.tensors[i].dims.size(); ++d) {
      for (int f : bound.tensors[i].dims[d]) {
        const BoundRule::Factor& factor = bound.factors[f];
        if (!factor.whole || factor.via.empty() || factor.size <= 1) continue;
        for (const Split& s : call.tensors[i].layout->dim(static_cast<int64_t>(d))) {
          if (call.mesh->axis_size(s.axis) > 1) return rules::find_composite(factor.via);
        }
      }
    }
  }
  return nullptr;
}

int64_t local_factor(const Call& call, const BoundRule& bound, const std::vector<AxisChoice>& choices,
                     const Layouts& layouts, int factor, c10::IntArrayRef coordinates) {
  auto look = [&](const std::vector<BoundRule::Tensor>& tensors, const std::vector<Layout>& at) -> int64_t {
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (at[i] == nullptr) continue;
      for (size_t d = 0; d < tensors[i].dims.size(); ++d) {
        const auto& dim = tensors[i].dims[d];
        if (std::find(dim.begin(), dim.end(), factor) == dim.end()) continue;
        // In a folded dimension the factor's own splits are even: its share is theirs.
        if (dim.size() == 1) return local_size(at[i], static_cast<int64_t>(d), bound.factors[factor].size, coordinates);
        int64_t length = bound.factors[factor].size;
        for (size_t a = 0; a < choices.size(); ++a) {
          if (choices[a].kind == AxisChoice::split && choices[a].factor == factor) {
            length = chunk_length(length, call.mesh->axis_size(static_cast<int>(a)), coordinates[a]);
          }
        }
        return length;
      }
    }
    return -1;
  };
  const int64_t n = look(bound.tensors, layouts.tensors);
  if (n >= 0) return n;
  const int64_t m = look(bound.results, layouts.results);
  return m >= 0 ? m : bound.factors[factor].size;
}

void localize_arguments(const Call& call, const BoundRule& bound, const std::vector<AxisChoice>& choices,
                        const Layouts& layouts, c10::IntArrayRef coordinates, Plan& plan) {
  for (const auto& [argument, value] : bound.replaced) plan.patches.push_back({argument, value});
  std::map<int, std::vector<int64_t>> lists;
  for (const auto& l : bound.localized) {
    if (l.argument < 0) continue;
    int64_t length = 1;
    for (int f : l.factors) length *= local_factor(call, bound, choices, layouts, f, coordinates);
    if (l.entry < 0) {
      if (call.arguments[l.argument].isInt() && call.arguments[l.argument].toInt() != length) {
        plan.patches.push_back({l.argument, c10::IValue(length)});
      }
      continue;
    }
    if (!call.arguments[l.argument].isIntList()) continue;
    auto it = lists.find(l.argument);
    if (it == lists.end()) it = lists.emplace(l.argument, call.arguments[l.argument].toIntVector()).first;
    if (static_cast<size_t>(l.entry) >= it->second.size()) continue;
    it->second[l.entry] = length;
  }
  if (bound.sizes_argument >= 0 && !layouts.results.empty()) {
    const Sizes sizes = local_sizes(layouts.results[0], call.results[0].geometry.sizes, coordinates);
    lists[bound.sizes_argument] = std::vector<int64_t>(sizes.begin(), sizes.end());
    if (bound.strides_argument >= 0) {
      const Sizes strides = dense_strides(sizes, call.results[0].geometry.strides);
      lists[bound.strides_argument] = std::vector<int64_t>(strides.begin(), strides.end());
    }
  }
  for (auto& [argument, list] : lists) {
    if (!call.arguments[argument].isIntList() || list != call.arguments[argument].toIntVector()) {
      plan.patches.push_back({argument, c10::IValue(std::move(list))});
    }
  }
}

void mask_indices(const Call& call, const BoundRule& bound, const std::vector<AxisChoice>& choices,
                  const Layouts& layouts, c10::IntArrayRef coordinates, Plan& plan) {
  for (size_t f = 0; f < bound.factors.size(); ++f) {
    if (!bound.factors[f].masked) continue;
    const bool is_split = std::any_of(choices.begin(), choices.end(), [&](const AxisChoice& c) {
      return c.kind == AxisChoice::split && c.factor == static_cast<int>(f);
    });
    if (!is_split) continue;
    auto add = [&](const BoundRule::Tensor& t, Layout layout, const Geometry& g) {
      for (size_t d = 0; d < t.dims.size(); ++d) {
        if (t.dims[d].size() != 1 || t.dims[d][0] != static_cast<int>(f) || layout == nullptr) continue;
        const auto ranges = local_indices(layout, static_cast<int64_t>(d), g.sizes[d], coordinates);
        Plan::Masked m;
        m.offset = ranges.empty() ? 0 : ranges[0].start;
        m.length = ranges.empty() ? 0 : ranges[0].length;
        m.index_tensor = -1;
        for (size_t i = 0; i < bound.tensors.size(); ++i) {
          if (bound.tensors[i].operand == bound.factors[f].index_operand) m.index_tensor = static_cast<int>(i);
        }
        plan.masked.push_back(m);
        return true;
      }
      return false;
    };
    bool done = false;
    for (size_t i = 0; i < bound.tensors.size() && !done; ++i) {
      done = add(bound.tensors[i], layouts.tensors[i], call.tensors[i].geometry);
    }
    for (size_t r = 0; r < bound.results.size() && !done; ++r) {
      done = add(bound.results[r], layouts.results[r], call.results[r].geometry);
    }
  }
}

}  // namespace

namespace {

// Chooses for each axis, and turns the choices into the plan.
void plan_bound(const Call& call, const BoundRule& bound, c10::IntArrayRef coordinates, Plan& plan) {
  std::vector<AxisChoice> choices;
  for (int a = 0; a < call.mesh->ndim(); ++a) choices.push_back(choose(call, bound, a, choices));
  // Once more, each knowing what the later ones split.
  for (int a = 0; call.mesh->ndim() > 1 && a < call.mesh->ndim(); ++a) choices[a] = choose(call, bound, a, choices);
  Layouts layouts = compose_all(call, bound, choices);
  // Blocks of different tensors may not go together over several axes: give up one axis after the other.
  for (int a = call.mesh->ndim() - 1; !layouts.ok && a >= 0; --a) {
    choices[a] = AxisChoice{};
    layouts = compose_all(call, bound, choices);
  }
  TORCH_INTERNAL_ASSERT(layouts.ok, "[", call.op.short_name, "] no valid layout");

  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    const Layout target = layouts.tensors[i];
    bool leave = !t.defined || (t.layout == nullptr && target->is_replicated());
    // Of some only the shape is read: pending values are as good as any, but the shard must have the right shape.
    if (!leave && bound.tensors[i].shape_only) leave = t.layout != nullptr && t.layout->without_partial() == target;
    plan.inputs.push_back(leave ? nullptr : target);
    if (leave || t.layout == nullptr || !t.layout->has_partial()) continue;
    TensorLayout::Partial left = t.layout->partial();
    for (int a = 0; a < call.mesh->ndim(); ++a) {
      if (target->partial()[a] != left[a]) left[a] = Reduction::none;
    }
    if (left == t.layout->partial()) continue;
    plan.reductions.push_back({static_cast<int>(i), TensorLayout::get(call.mesh, t.layout->dims(), left)});
  }
  for (size_t r = 0; r < call.results.size(); ++r) {
    const ResultInfo& result = call.results[r];
    if (call.op.results[result.result].written_argument >= 0) continue;
    plan.outputs.push_back({layouts.results[r], result.geometry, result.defined});
  }
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (!t.written || !t.defined) continue;
    Layout after = layouts.tensors[i];
    for (size_t r = 0; r < call.results.size(); ++r) {
      if (call.op.results[call.results[r].result].written_argument == t.argument &&
          call.results[r].element == t.element) {
        after = layouts.results[r];
      }
    }
    const Layout own = t.layout ? t.layout : TensorLayout::replicated(call.mesh, t.ndim());
    if (after != own || layouts.tensors[i] != own) plan.write_backs.push_back({static_cast<int>(i), after});
  }
  localize_arguments(call, bound, choices, layouts, coordinates, plan);
  mask_indices(call, bound, choices, layouts, coordinates, plan);
}

// Pointwise with broadcasting over the given tensors.
BoundRule bind_pointwise(const Call& call) {
  BoundRule bound;
  int64_t rank = 0;
  for (const TensorInfo& t : call.tensors) rank = std::max(rank, t.ndim());
  for (int64_t k = 0; k < rank; ++k) {
    int64_t size = 1;
    for (const TensorInfo& t : call.tensors) {
      const int64_t d = t.ndim() - rank + k;
      if (t.defined && d >= 0 && t.geometry.sizes[d] != 1) size = t.geometry.sizes[d];
    }
    bound.add_factor(size);
  }
  auto place = [&](const Geometry& g) {
    BoundRule::Tensor t;
    const int64_t ndim = static_cast<int64_t>(g.sizes.size());
    t.dims.resize(ndim);
    for (int64_t d = 0; d < ndim; ++d) t.dims[d].push_back(static_cast<int>(rank - ndim + d));
    return t;
  };
  for (const TensorInfo& t : call.tensors) bound.tensors.push_back(place(t.geometry));
  for (const ResultInfo& r : call.results) bound.results.push_back(place(r.geometry));
  rules::finish(call, bound);
  for (auto& f : bound.factors) f.contracted = false;  // in-place foreach ops return nothing, and contract nothing
  return bound;
}

// A foreach op: each entry of the lists is planned by itself, as pointwise.
void plan_foreach(const Call& call, c10::IntArrayRef coordinates, Plan& plan) {
  plan.inputs.assign(call.tensors.size(), nullptr);
  plan.outputs.resize(call.results.size());
  int entries = 0;
  for (const TensorInfo& t : call.tensors) entries = std::max(entries, t.element + 1);
  for (int e = 0; e < entries; ++e) {
    Call entry{call.op, call.arguments, {}, {}, call.mesh};
    std::vector<int> tensors, results;
    for (size_t i = 0; i < call.tensors.size(); ++i) {
      if (call.tensors[i].element != e && call.tensors[i].element >= 0) continue;
      entry.tensors.push_back(call.tensors[i]);
      tensors.push_back(static_cast<int>(i));
    }
    for (size_t r = 0; r < call.results.size(); ++r) {
      if (call.results[r].element != e) continue;
      entry.results.push_back(call.results[r]);
      results.push_back(static_cast<int>(r));
    }
    Plan part;
    plan_bound(entry, bind_pointwise(entry), coordinates, part);
    for (size_t i = 0; i < tensors.size(); ++i) plan.inputs[tensors[i]] = part.inputs[i];
    for (size_t r = 0; r < results.size() && r < part.outputs.size(); ++r) plan.outputs[results[r]] = part.outputs[r];
    for (auto& w : part.write_backs) plan.write_backs.push_back({tensors[w.tensor], w.from});
    for (auto& w : part.reductions) plan.reductions.push_back({tensors[w.tensor], w.to});
  }
}

}  // namespace

bool plan_by_rule(const Call& call, c10::IntArrayRef coordinates, Plan& plan) {
  if (call.op.foreach) return plan_foreach(call, coordinates, plan), true;
  BoundRule bound;
  bool is_bound = false;
  for (const rules::RuleEntry* entry : call.op.rules) {
    bound = BoundRule();
    is_bound =
        entry->binder ? entry->binder(call, bound, plan.reason) : rules::bind(entry->rule, call, bound, plan.reason);
    bound.nonempty = entry->nonempty;
    if (is_bound) break;
  }
  if (!is_bound) return false;
  plan.composite = composite_for_split(call, bound);
  if (plan.composite == nullptr) plan_bound(call, bound, coordinates, plan);
  return true;
}

Plan make_plan(Call& call, c10::IntArrayRef coordinates) {
  Plan plan;
  if (call.op.rules.empty() && !call.op.foreach) {
    plan.reason = "it has no rule";
    if (call.op.is_view) infer_results(call);
  } else if (!infer_results(call)) {
    plan.reason = "its results' shapes depend on values";
  } else if (plan_by_rule(call, coordinates, plan)) {
    return plan;
  }
  const std::string reason = plan.reason;
  plan = Plan();
  plan.reason = reason;
  plan.gathered = true;
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (!t.defined || t.layout == nullptr) {
      plan.inputs.push_back(nullptr);
      continue;
    }
    const Layout whole = TensorLayout::replicated(call.mesh, t.ndim());
    plan.inputs.push_back(whole);
    if (t.layout != whole) plan.gathered_bytes += t.bytes();
    if (t.written && t.layout != whole) plan.write_backs.push_back({static_cast<int>(i), whole});
  }
  // A view keeps its place in the root's geometry even so.
  if (call.op.is_view) {
    for (const ResultInfo& r : call.results) {
      const Layout whole = TensorLayout::replicated(call.mesh, static_cast<int64_t>(r.geometry.sizes.size()));
      plan.outputs.push_back({whole, r.geometry, r.defined});
    }
  }
  return plan;
}

}  // namespace weft
