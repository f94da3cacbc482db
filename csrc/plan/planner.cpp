// From a call to its plan: bind a rule, let each mesh axis choose, put the choices together into layouts.
#include <ATen/core/enum_tag.h>
#include <ATen/core/jit_type.h>

#include <algorithm>

#include "plan/axis.h"
#include "plan/bind_first.h"
#include "plan/dtypes.h"
#include "plan/infer.h"
#include "plan/layouts.h"
#include "plan/localize.h"
#include "plan/meta_call.h"
#include "plan/plan.h"
#include "plan/written.h"
#include "rules/registry.h"
#include "tensor/unreal.h"

namespace weft {

using rules::BoundRule;

bool bind_first(const Call& call, BoundRule& bound, std::string& why) {
  for (const rules::RuleEntry* entry : call.op.rules) {
    bound = BoundRule();
    const bool is_bound = entry->binder ? entry->binder(call, bound, why) : rules::bind(entry->rule, call, bound, why);
    bound.supports_empty_shards = entry->supports_empty_shards;
    if (is_bound) return true;
  }
  return false;
}

namespace {

// The distributed kernel that runs where a factor is split that the rule wants whole.
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
    // Only the shape of some is read: pending values are as good as any, but the shard must have the right shape.
    if (!leave && bound.tensors[i].shape_only) leave = t.layout != nullptr && t.layout->without_partial() == target;
    plan.inputs.push_back(leave ? nullptr : target);
    const bool shape = bound.tensors[i].shape_only && !t.written;
    if (!leave && shape) plan.shapes.push_back(static_cast<int>(i));
    if (leave || shape || t.layout == nullptr || !t.layout->has_partial()) continue;
    TensorLayout::Partial left = t.layout->partial();
    for (int a = 0; a < call.mesh->ndim(); ++a) {
      if (target->partial()[a] != left[a]) left[a] = Reduction::none;
    }
    if (left == t.layout->partial()) continue;
    plan.reductions.push_back({static_cast<int>(i), TensorLayout::get(call.mesh, t.layout->dims(), left)});
  }
  for (size_t r = 0; r < call.results.size(); ++r) {
    const ResultInfo& result = call.results[r];
    if (written_argument(call, result) >= 0) continue;
    plan.outputs.push_back({layouts.results[r], result.geometry, result.defined});
  }
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (!t.written || !t.defined) continue;
    Layout after = layouts.tensors[i];
    for (size_t r = 0; r < call.results.size(); ++r) {
      if (written_argument(call, call.results[r]) == t.argument && call.results[r].element == t.element) {
        after = layouts.results[r];
      }
    }
    const Layout own = t.layout ? t.layout : TensorLayout::replicated(call.mesh, t.ndim());
    if (after != own || layouts.tensors[i] != own) plan.write_backs.push_back({static_cast<int>(i), after});
  }
  localize_arguments(call, bound, choices, layouts, coordinates, plan);
  plan.local = local_call(call, bound, choices, layouts, coordinates);
  if (plan.local == nullptr) plan.local = meta_call(call);
}

// Pointwise with broadcasting over the given tensors. False: core would refuse such shapes, the shards' perhaps not.
bool bind_pointwise(const Call& call, BoundRule& bound) {
  int64_t rank = 0;
  for (const TensorInfo& t : call.tensors) rank = std::max(rank, t.ndim());
  for (int64_t k = 0; k < rank; ++k) {
    int64_t size = 1;
    for (const TensorInfo& t : call.tensors) {
      const int64_t d = t.ndim() - rank + k;
      if (!t.defined || d < 0 || t.geometry.sizes[d] == 1) continue;
      if (size != 1 && size != t.geometry.sizes[d]) return false;
      size = t.geometry.sizes[d];
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
  return true;
}

// A foreach op: each entry of the lists is planned by itself, as pointwise; a user's by the rule of its base op.
bool plan_foreach(const Call& call, c10::IntArrayRef coordinates, Plan& plan) {
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
    BoundRule bound;
    if (call.op.rules.empty()) {
      if (!bind_pointwise(entry, bound)) return plan.reason = "shapes in its lists do not go together", false;
    } else if (!bind_first(entry, bound, plan.reason)) {
      return false;
    }
    plan_bound(entry, bound, coordinates, part);
    // An argument that every entry shares cannot take a value of its own for one of them.
    if (!part.patches.empty() || part.local != nullptr)
      return plan.reason = "its entries need arguments of their own", false;
    for (size_t i = 0; i < tensors.size(); ++i) plan.inputs[tensors[i]] = part.inputs[i];
    for (size_t r = 0; r < results.size() && r < part.outputs.size(); ++r) plan.outputs[results[r]] = part.outputs[r];
    for (auto& w : part.write_backs) plan.write_backs.push_back({tensors[w.tensor], w.from});
    for (auto& w : part.reductions) plan.reductions.push_back({tensors[w.tensor], w.to});
  }
  return true;
}

}  // namespace

bool plan_by_rule(const Call& call, c10::IntArrayRef coordinates, Plan& plan) {
  if (call.op.is_foreach) return plan_foreach(call, coordinates, plan);
  BoundRule bound;
  if (!bind_first(call, bound, plan.reason)) return false;
  plan.composite = composite_for_split(call, bound);
  if (plan.composite == nullptr) {
    plan_bound(call, bound, coordinates, plan);
    return true;
  }
  for (const ResultInfo& r : call.results) {
    if (call.op.results[r.result].written_argument < 0) plan.outputs.push_back({nullptr, r.geometry, r.defined});
  }
  return true;
}

namespace {

// A gathered op's result, in the dimensions that are as long as a split one of an operand in the same place, split as
// that: most often it is the same one (a batch), and what follows would run whole on every rank.
Layout split_as_operand(const Call& call, const ResultInfo& result) {
  const Sizes& sizes = result.geometry.sizes;
  for (const TensorInfo& t : call.tensors) {
    if (!t.defined || t.layout == nullptr) continue;
    TensorLayout::Dims dims(sizes.size());
    bool any = false;
    for (size_t d = 0; d < std::min(sizes.size(), t.geometry.sizes.size()); ++d) {
      if (sizes[d] != t.geometry.sizes[d]) continue;
      dims[d] = t.layout->dim(static_cast<int64_t>(d));
      any |= !dims[d].empty();
    }
    if (any) return TensorLayout::get(call.mesh, dims);
  }
  return TensorLayout::replicated(call.mesh, static_cast<int64_t>(sizes.size()));
}

Plan plan_of(Call& call, c10::IntArrayRef coordinates) {
  Plan plan;
  std::string why;
  if (call.op.rules.empty() && !call.op.is_foreach) {
    plan.reason = "it has no rule";
    infer_results(call);
  } else if (!infer_results(call, why)) {
    plan.reason = "its results' shapes are not known beforehand (" + why + ")";
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
    const Layout replicated = TensorLayout::replicated(call.mesh, t.ndim());
    plan.inputs.push_back(replicated);
    if (t.layout != replicated) plan.gathered_bytes += t.bytes();
    if (t.written && t.layout != replicated) plan.write_backs.push_back({static_cast<int>(i), replicated});
  }
  for (const ResultInfo& r : call.results) {
    if (written_argument(call, r) >= 0) continue;
    // A view keeps its place in the root's geometry even so.
    const Layout whole = TensorLayout::replicated(call.mesh, static_cast<int64_t>(r.geometry.sizes.size()));
    plan.outputs.push_back({call.op.is_view ? whole : split_as_operand(call, r), r.geometry, r.defined});
  }
  return plan;
}

}  // namespace

Plan make_plan(Call& call, c10::IntArrayRef coordinates) {
  if (call.mesh->is_simulated()) check_dtypes(call);
  Plan plan = plan_of(call, coordinates);
  if (!call.mesh->is_simulated()) return plan;
  // Values get known as numbers, or by the shape of a result.
  const bool by_shape = plan.gathered && call.op.handle.hasTag(at::Tag::dynamic_output_shape);
  if (call.op.tells || by_shape) need_values(call.op.short_name, call.mesh);
  if (plan.composite != nullptr) return plan;
  // Results are where the shards are, whatever device the caller names.
  const auto& arguments = call.op.handle.schema().arguments();
  for (size_t a = 0; a < arguments.size(); ++a) {
    c10::TypePtr type = arguments[a].type();
    if (const auto optional = type->cast<c10::OptionalType>()) type = optional->getElementType();
    if (type->kind() == c10::TypeKind::DeviceObjType)
      plan.patches.push_back({static_cast<int>(a), at::Device(at::kMeta)});
  }
  return plan;
}

}  // namespace weft
