#include "plan/localize.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "local/causal.h"
#include "local/masked.h"
#include "local/windowed.h"

namespace weft {

using rules::BoundRule;

namespace {

// Returns the length that a factor has on this rank's shard.
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

}  // namespace

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

namespace {

using Local = std::shared_ptr<const LocalCall>;

// Whether ranks have different parts of the factor: not over axes of one rank.
bool is_parted(Mesh mesh, const std::vector<AxisChoice>& choices, int factor) {
  for (size_t a = 0; a < choices.size(); ++a) {
    const bool split = choices[a].kind == AxisChoice::split && choices[a].factor == factor;
    if (split && mesh->axis_size(static_cast<int>(a)) > 1) return true;
  }
  return false;
}

// Where indices look into a dimension that is split, they are shifted and masked. Null: none does.
Local masked_call(const Call& call, const BoundRule& bound, const std::vector<AxisChoice>& choices,
                  const Layouts& layouts, c10::IntArrayRef coordinates) {
  for (size_t f = 0; f < bound.factors.size(); ++f) {
    const BoundRule::Factor& factor = bound.factors[f];
    if (!factor.masked || !is_parted(call.mesh, choices, static_cast<int>(f))) continue;
    MaskedCall::Recipe recipe{
        .ignored = factor.ignored.empty() ? -1 : call.op.argument(factor.ignored), .wraps = factor.wraps, .tables = {}};
    int64_t table_ndim = 0, index_ndim = 0;
    IndexRange held{0, 0};
    int64_t global_size = -1;
    auto look = [&](const BoundRule::Tensor& t, Layout layout, const Geometry& g, int argument) {
      for (size_t d = 0; d < t.dims.size() && layout != nullptr; ++d) {
        if (t.dims[d].size() != 1 || t.dims[d][0] != static_cast<int>(f)) continue;
        if (argument >= 0) recipe.tables.push_back({argument, static_cast<int64_t>(d)});
        if (argument >= 0) table_ndim = static_cast<int64_t>(t.dims.size());
        if (global_size >= 0) continue;
        global_size = g.sizes[d];
        const auto ranges = local_indices(layout, static_cast<int64_t>(d), global_size, coordinates);
        if (!ranges.empty()) held = ranges[0];
      }
    };
    for (size_t i = 0; i < bound.tensors.size(); ++i) {
      if (bound.tensors[i].operand == factor.index_operand) {
        recipe.index = call.tensors[i].argument;
        recipe.element = call.tensors[i].element;
        index_ndim = call.tensors[i].ndim();
      }
      look(bound.tensors[i], layouts.tensors[i], call.tensors[i].geometry, call.tensors[i].argument);
    }
    for (size_t r = 0; r < bound.results.size(); ++r) {
      look(bound.results[r], layouts.results[r], call.results[r].geometry, -1);
    }
    // Ops with one tensor of indices look at them all the same.
    recipe.reads = recipe.element < 0 || call.results[0].geometry.numel() > 0;
    // The indices' dimensions stand in the place of the one that they look into, unless the result has the index's own.
    const auto ndim = static_cast<int64_t>(bound.results[0].dims.size());
    if (ndim == table_ndim - 1 + index_ndim) recipe.after = table_ndim - 1 - recipe.tables.back().dim;
    return std::make_shared<MaskedCall>(std::move(recipe), held.start, held.length, global_size);
  }
  return nullptr;
}

// Where queries are split and masked by their place, each rank needs its own mask. Null: none are.
Local causal_call(const Call& call, const BoundRule& bound, const std::vector<AxisChoice>& choices,
                  const Layouts& layouts, c10::IntArrayRef coordinates) {
  const int query = call.tensor("query");
  if (query < 0) return nullptr;
  const auto& dims = bound.tensors[query].dims;
  for (size_t d = 0; d < dims.size(); ++d) {
    const bool causal = dims[d].size() == 1 && bound.factors[dims[d][0]].causal;
    if (!causal || !is_parted(call.mesh, choices, dims[d][0])) continue;
    const int64_t size = call.tensors[query].geometry.sizes[d];
    const auto ranges = local_indices(layouts.tensors[query], static_cast<int64_t>(d), size, coordinates);
    return std::make_shared<CausalCall>(ranges.empty() ? Rows{}
                                                       : Rows{ranges[0].start, ranges[0].start + ranges[0].length});
  }
  return nullptr;
}

// Where a window slides over split dimensions, it needs the neighbours' rows. Null: none does.
Local windowed_call(const Call& call, const BoundRule& bound, const std::vector<AxisChoice>& choices,
                    c10::IntArrayRef coordinates) {
  std::vector<Halo> halos;
  std::vector<Window> windows;
  const auto& dims = bound.tensors.empty() ? std::vector<BoundRule::Dim>() : bound.tensors[0].dims;
  for (size_t d = dims.size(); d-- > 0;) {
    if (dims[d].size() != 1 || !bound.factors[dims[d][0]].halo) continue;
    const Window& window = *bound.factors[dims[d][0]].window;
    windows.push_back(window);
    for (size_t a = 0; a < choices.size(); ++a) {
      const int64_t parts = call.mesh->axis_size(static_cast<int>(a));
      if (choices[a].kind != AxisChoice::split || choices[a].factor != dims[d][0] || parts == 1) continue;
      halos.push_back(
          make_halo(window, static_cast<int>(a), parts, coordinates[a], static_cast<int64_t>(dims.size() - d)));
    }
  }
  if (halos.empty()) return nullptr;
  return std::make_shared<WindowedCall>(std::move(halos), std::move(windows));
}

}  // namespace

Local local_call(const Call& call, const BoundRule& bound, const std::vector<AxisChoice>& choices,
                 const Layouts& layouts, c10::IntArrayRef coordinates) {
  if (Local masked = masked_call(call, bound, choices, layouts, coordinates)) return masked;
  if (Local causal = causal_call(call, bound, choices, layouts, coordinates)) return causal;
  return windowed_call(call, bound, choices, coordinates);
}

}  // namespace weft
