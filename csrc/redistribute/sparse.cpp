#include "redistribute/sparse.h"

#include <ATen/Functions.h>
#include <ATen/SparseTensorImpl.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "layout/shard.h"
#include "mesh/context.h"
#include "redistribute/redistribute.h"
#include "redistribute/tensors.h"
#include "tensor/below_autograd.h"
#include "tensor/unreal.h"

namespace weft {
namespace {

struct PatternMeta final : c10::BackendMeta {
  explicit PatternMeta(Pattern p) : pattern(std::move(p)) {}
  Pattern pattern;  // replaced where the sparse tensor, for all its aliases, gets other entries
};

Geometry row_major_geometry(at::IntArrayRef sizes) {
  Geometry geometry;
  geometry.sizes.assign(sizes.begin(), sizes.end());
  geometry.strides = row_major_strides(geometry.sizes);
  return geometry;
}

// Where global indices of a dimension lie in a shard that holds these ranges; -1: nowhere.
at::Tensor places(const at::Tensor& indices, const std::vector<IndexRange>& held) {
  at::Tensor out = at::full_like(indices, -1);
  int64_t before = 0;
  for (const IndexRange& range : held) {
    const at::Tensor place = indices - range.start;
    out = at::where(place.ge(0).logical_and(place.lt(range.length)), place + before, out);
    before += range.length;
  }
  return out;
}

// The mesh axes that split sparse dimensions, major first.
std::vector<Split> row_axes(Layout layout, int64_t sparse_dim) {
  std::vector<Split> axes;
  for (int64_t d = 0; d < sparse_dim; ++d) {
    for (const Split& split : layout->dim(d)) axes.push_back({.axis = split.axis});
  }
  return axes;
}

at::Tensor local_place(const SparsePattern& p, int64_t d, const Coordinates& coordinates) {
  const at::Tensor indices = p.indices[d];
  if (p.layout->dim(d).empty()) return indices;
  return places(indices, local_indices(p.layout, d, p.sizes[d], coordinates));
}

// Which entries the rank at these coordinates holds; undefined: all.
at::Tensor held_entries(const SparsePattern& p, const Coordinates& coordinates) {
  at::Tensor held;
  for (int64_t d = 0; d < p.sparse_dim(); ++d) {
    if (p.layout->dim(d).empty()) continue;
    const at::Tensor in = local_place(p, d, coordinates).ge(0);
    held = held.defined() ? held.logical_and(in) : in;
  }
  if (!held.defined()) return held;
  if (!held.is_meta()) return held.nonzero().squeeze(1);
  // Without values: as many as each rank holds of indices that are evenly spread.
  int64_t ranks = 1;
  for (const Split& split : row_axes(p.layout, p.sparse_dim())) ranks *= p.layout->mesh()->axis_size(split.axis);
  return at::empty({(p.count() + ranks - 1) / ranks}, p.indices.options());
}

const Coordinates& coordinates_of(Layout layout) { return context().bind(layout->mesh()).coordinates; }

at::Tensor local_sparse(const SparsePattern& p, const at::Tensor& values) {
  const Coordinates& coordinates = coordinates_of(p.layout);
  std::vector<at::Tensor> rows;
  for (int64_t d = 0; d < p.sparse_dim(); ++d) rows.push_back(local_place(p, d, coordinates));
  at::Tensor indices = plain_on(p.layout->mesh(), rows.empty() ? p.indices : at::stack(rows));
  if (p.here.defined()) indices = indices.index_select(1, p.here);
  return at::_sparse_coo_tensor_unsafe(indices, values, local_sizes(p.layout, p.sizes, coordinates),
                                       values.options().layout(at::kSparse), p.coalesced);
}

// Where the ranks' entries, as many places each, lie one after another: the length of each rank's part, and where each
// entry is found.
struct Order {
  int64_t length = 0;
  at::Tensor found;
};
Order order_of(const SparsePattern& p) {
  const auto axes = row_axes(p.layout, p.sparse_dim());
  Coordinates coordinates = coordinates_of(p.layout);
  std::vector<at::Tensor> held;
  const std::function<void(size_t)> visit = [&](size_t i) {
    if (i == axes.size()) {
      held.push_back(held_entries(p, coordinates));
      return;
    }
    for (int64_t c = 0; c < p.layout->mesh()->axis_size(axes[i].axis); ++c) {
      coordinates[axes[i].axis] = c;
      visit(i + 1);
    }
  };
  visit(0);
  Order order;
  for (const at::Tensor& h : held) order.length = std::max(order.length, h.size(0));
  order.found = at::empty({p.count()}, p.indices.options());
  for (size_t rank = 0; rank < held.size() && !p.indices.is_meta(); ++rank) {
    const int64_t first = static_cast<int64_t>(rank) * order.length;
    order.found.index_copy_(0, held[rank], at::arange(first, first + held[rank].size(0), p.indices.options()));
  }
  return order;
}

at::Tensor padded(const SparsePattern& p, const at::Tensor& values, int64_t length) {
  Sizes sizes(values.sizes().begin(), values.sizes().end());
  sizes[0] = length;
  at::Tensor part = at::zeros(sizes, values.options());
  part.narrow(0, 0, values.size(0)).copy_(values);
  Sizes full = p.entries_sizes();
  full[0] = length;
  for (const Split& split : row_axes(p.layout, p.sparse_dim())) full[0] *= p.layout->mesh()->axis_size(split.axis);
  return make_sharded(std::move(part), p.entries_layout(), row_major_geometry(full));
}

Layout with_whole_rows(Layout layout) {
  TensorLayout::Dims dims = layout->dims();
  dims[0].clear();
  return TensorLayout::get(layout->mesh(), std::move(dims));
}

at::Tensor mark(at::Tensor tensor, Pattern pattern) {
  sharded(tensor).set_backend_meta(c10::make_intrusive<PatternMeta>(std::move(pattern)));
  return tensor;
}

PatternMeta* meta_of(const at::Tensor& tensor) {
  ShardedTensorImpl* impl = sharded_impl(tensor);
  return impl == nullptr ? nullptr : static_cast<PatternMeta*>(impl->get_backend_meta());
}

}  // namespace

Layout SparsePattern::entries_layout() const {
  TensorLayout::Dims dims{row_axes(layout, sparse_dim())};
  dims.insert(dims.end(), layout->dims().begin() + sparse_dim(), layout->dims().end());
  return TensorLayout::get(layout->mesh(), std::move(dims));
}

Sizes SparsePattern::entries_sizes() const {
  Sizes out{count()};
  out.append(sizes.begin() + sparse_dim(), sizes.end());
  return out;
}

Pattern make_pattern(const at::Tensor& indices, Layout layout, at::IntArrayRef sizes, bool coalesced) {
  auto pattern = std::make_shared<SparsePattern>(
      SparsePattern{indices, {}, layout, Sizes(sizes.begin(), sizes.end()), coalesced || indices.size(1) < 2});
  const at::Tensor here = held_entries(*pattern, coordinates_of(layout));
  if (here.defined()) pattern->here = plain_on(layout->mesh(), here);
  return pattern;
}

bool same_entries(const Pattern& a, const Pattern& b) {
  return a == b || (a->layout == b->layout && a->indices.is_same(b->indices) && a->sizes == b->sizes);
}

Pattern pattern_of(const at::Tensor& tensor) {
  const PatternMeta* meta = meta_of(tensor);
  return meta == nullptr ? nullptr : meta->pattern;
}

void set_entries(const at::Tensor& sparse, Pattern pattern, const at::Tensor& values) {
  const at::Tensor made = local_sparse(*pattern, values), local = sharded(sparse).local();
  static_cast<at::SparseTensorImpl*>(local.unsafeGetTensorImpl())
      ->set_indices_and_values_unsafe(made._indices(), made._values());
  local._coalesced_(pattern->coalesced);
  meta_of(sparse)->pattern = std::move(pattern);
}

at::Tensor make_sparse(Pattern pattern, const at::Tensor& values) {
  at::Tensor out = make_sharded(local_sparse(*pattern, values), pattern->layout, row_major_geometry(pattern->sizes));
  return mark(std::move(out), std::move(pattern));
}

at::Tensor mark_entries(const at::Tensor& values, Pattern pattern) {
  if (pattern->here.defined()) sharded(values).hold_entries();
  return mark(values, std::move(pattern));
}

at::Tensor entries_of(const at::Tensor& sparse) {
  Pattern pattern = pattern_of(sparse);
  const at::Tensor out = make_sharded(sharded(sparse).local()._values(), pattern->entries_layout(),
                                      row_major_geometry(pattern->entries_sizes()));
  return mark_entries(out, std::move(pattern));
}

at::Tensor padded_entries(const at::Tensor& entries) {
  if (!has_own_rows(entries)) return entries;
  const Pattern pattern = pattern_of(entries);
  return padded(*pattern, sharded(entries).local(), order_of(*pattern).length);
}

bool has_own_rows(const at::Tensor& tensor) {
  return holds_shards(tensor) && sharded(tensor).holds_entries() && pattern_of(tensor) != nullptr;
}

at::Tensor gather_entries(const at::Tensor& entries) {
  if (!has_own_rows(entries)) return entries;
  const BelowAutograd guard;
  const ShardedTensorImpl& impl = sharded(entries);
  const RunningOp running("entries", impl.identity(), impl.interned_path(), /*keeps_value=*/true);
  const Pattern pattern = pattern_of(entries);
  const Order order = order_of(*pattern);
  const Layout layout = with_whole_rows(pattern->entries_layout());
  at::Tensor part = lay_out(padded(*pattern, impl.local(), order.length), layout);
  return make_sharded(sharded(part).local().index_select(0, plain_on(layout->mesh(), order.found)), layout,
                      row_major_geometry(pattern->entries_sizes()));
}

at::Tensor full_sparse(const at::Tensor& sparse) {
  const BelowAutograd guard;
  const Pattern pattern = pattern_of(sparse);
  const at::Tensor values = full_or_alias(gather_entries(entries_of(sparse)));
  return at::_sparse_coo_tensor_unsafe(pattern->indices, values, pattern->sizes, values.options().layout(at::kSparse),
                                       pattern->coalesced);
}

at::Tensor lay_out_sparse(const at::Tensor& sparse, Layout layout) {
  const BelowAutograd guard;
  const Pattern from = pattern_of(sparse);
  if (from != nullptr && from->layout == layout) return sparse;
  Pattern to = make_pattern(from != nullptr ? from->indices : sparse._indices(), layout, sparse.sizes(),
                            from != nullptr ? from->coalesced : sparse.is_coalesced());
  at::Tensor values = from != nullptr ? gather_entries(entries_of(sparse)) : sparse._values();
  values = sharded(lay_out(values, with_whole_rows(to->entries_layout()))).local();
  if (to->here.defined()) values = values.index_select(0, to->here);
  return make_sparse(std::move(to), values);
}

}  // namespace weft
