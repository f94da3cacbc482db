#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <c10/util/hash.h>
#include <weft/layout.h>

#include <mutex>
#include <unordered_map>

#include "base/hash.h"
#include "base/quote.h"
#include "layout/type_text.h"

namespace weft {
namespace {

constexpr std::array<const char*, 7> kReductionNames = {"none", "sum", "avg", "max", "min", "product", "norm2"};

uint64_t hash_of(Mesh mesh, const TensorLayout::Dims& dims, const TensorLayout::Partial& partial) {
  uint64_t h = c10::hash_combine(reinterpret_cast<uintptr_t>(mesh), dims.size());
  for (const auto& dim : dims) {
    h = c10::hash_combine(h, dim.size());
    for (const Split& split : dim) h = c10::hash_combine(c10::hash_combine(h, split.axis), split.block);
  }
  for (Reduction r : partial) h = c10::hash_combine(h, static_cast<uint64_t>(r));
  return h;
}

// Leaked on purpose: layouts are compared by address until the process ends.
struct Table {
  std::mutex mutex;
  std::unordered_multimap<uint64_t, const TensorLayout*> layouts;
  std::vector<const TensorLayout*> by_id;
};
Table& table() {
  static Table* table = new Table();
  return *table;
}

void check(Mesh mesh, const TensorLayout::Dims& dims, const TensorLayout::Partial& partial) {
  std::array<int, kMaxAxes> split_dim;
  split_dim.fill(-1);
  for (size_t d = 0; d < dims.size(); ++d) {
    for (const Split& split : dims[d]) {
      TORCH_CHECK_VALUE(split.axis >= 0 && split.axis < mesh->ndim(), "[W025] layout: axis index ", split.axis,
                        " is not in ", mesh->str());
      TORCH_CHECK_VALUE(split_dim[split.axis] < 0, "[W027] layout: axis '", mesh->axis_name(split.axis),
                        "' is used twice, for dimensions ", split_dim[split.axis], " and ", d,
                        "; an axis can split one dimension only (", mesh->str(), ")");
      split_dim[split.axis] = static_cast<int>(d);
      TORCH_CHECK_VALUE(partial[split.axis] == Reduction::none, "[W027] layout: axis '", mesh->axis_name(split.axis),
                        "' both splits dimension ", d, " and has a pending ", to_string(partial[split.axis]));
    }
  }
  for (int a = mesh->ndim(); a < kMaxAxes; ++a) {
    TORCH_CHECK_VALUE(partial[a] == Reduction::none, "[W025] layout: pending reduction over axis ", a,
                      " that is not in ", mesh->str());
  }
}

}  // namespace

const char* to_string(Reduction reduction) { return kReductionNames[static_cast<size_t>(reduction)]; }

Reduction reduction_from_string(const std::string& name) {
  for (size_t i = 1; i < kReductionNames.size(); ++i) {
    if (name == kReductionNames[i]) return static_cast<Reduction>(i);
  }
  TORCH_CHECK_VALUE(false, "[W029] unknown reduction ", quote(name), "; known: sum, avg, max, min, product, norm2");
}

const TensorLayout* TensorLayout::get(Mesh mesh, Dims dims, Partial partial) {
  TORCH_CHECK_VALUE(mesh != nullptr, "[W030] a layout needs a device mesh");
  check(mesh, dims, partial);
  for (int a = 0; a < mesh->ndim(); ++a) {
    if (mesh->axis_size(a) == 1) partial[a] = Reduction::none;
  }
  const uint64_t h = hash_of(mesh, dims, partial);
  {
    std::lock_guard<std::mutex> lock(table().mutex);
    auto [begin, end] = table().layouts.equal_range(h);
    for (auto it = begin; it != end; ++it) {
      const TensorLayout* l = it->second;
      if (l->mesh_ == mesh && l->dims_ == dims && l->partial_ == partial) return l;
    }
  }
  auto* layout = new TensorLayout();
  layout->mesh_ = mesh;
  layout->partial_ = partial;
  for (size_t d = 0; d < dims.size(); ++d) {
    for (const Split& split : dims[d]) {
      layout->states_[split.axis] = {AxisState::split, static_cast<int>(d), split.block, Reduction::none};
      layout->is_replicated_ = false;
    }
  }
  for (int a = 0; a < mesh->ndim(); ++a) {
    if (partial[a] == Reduction::none) continue;
    layout->states_[a] = {AxisState::partial, -1, 0, partial[a]};
    layout->is_replicated_ = false;
    layout->has_partial_ = true;
  }
  layout->dims_ = std::move(dims);
  layout->hash_ = mix(mesh->hash(), hash_text(layout->str()));
  layout->without_partial_ = layout->has_partial_ ? get(mesh, layout->dims_) : layout;
  std::lock_guard<std::mutex> lock(table().mutex);
  auto [begin, end] = table().layouts.equal_range(h);
  for (auto it = begin; it != end; ++it) {
    const TensorLayout* l = it->second;
    if (l->mesh_ == mesh && l->dims_ == layout->dims_ && l->partial_ == partial) {
      delete layout;
      return l;
    }
  }
  layout->id_ = static_cast<int64_t>(table().by_id.size());
  table().by_id.push_back(layout);
  table().layouts.emplace(h, layout);
  return layout;
}

const TensorLayout* TensorLayout::from_id(int64_t id) {
  std::lock_guard<std::mutex> lock(table().mutex);
  const auto& known = table().by_id;
  TORCH_CHECK_VALUE(id >= 0 && id < static_cast<int64_t>(known.size()), "[W029] no layout has the id ", id);
  return known[id];
}

const TensorLayout* TensorLayout::from_names(Mesh mesh, const std::vector<std::vector<std::string>>& axes,
                                             const std::map<std::string, std::string>& partial) {
  TORCH_CHECK_VALUE(mesh != nullptr, "[W030] a layout needs a device mesh");
  Dims dims(axes.size());
  for (size_t d = 0; d < axes.size(); ++d) {
    for (const std::string& name : axes[d]) dims[d].push_back({mesh->axis(name), 0});
  }
  Partial reductions{};
  for (const auto& [name, reduction] : partial) reductions[mesh->axis(name)] = reduction_from_string(reduction);
  return get(mesh, std::move(dims), reductions);
}

const TensorLayout* TensorLayout::replicated(Mesh mesh, int64_t ndim) { return get(mesh, Dims(ndim)); }

std::string TensorLayout::str() const {
  auto name = [&](const Split& s) {
    return s.block == 0 ? mesh_->axis_name(s.axis) : c10::str(mesh_->axis_name(s.axis), "/", s.block);
  };
  std::string out = "(";
  for (size_t d = 0; d < dims_.size(); ++d) {
    if (d > 0) out += ", ";
    if (dims_[d].empty()) {
      out += "None";
    } else if (dims_[d].size() == 1) {
      out += name(dims_[d][0]);
    } else {
      for (size_t i = 0; i < dims_[d].size(); ++i) out += (i == 0 ? "(" : ", ") + name(dims_[d][i]);
      out += ")";
    }
  }
  out += dims_.size() == 1 ? ",)" : ")";
  if (has_partial_) out += " partial" + pending_text(*this);
  return out;
}

std::string TensorLayout::describe() const { return str() + " on " + mesh_->str(); }

}  // namespace weft
