#include "composites/split_parts.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <utility>

#include "comm/cost/cost.h"
#include "layout/shard.h"
#include "mesh/context.h"
#include "redistribute/redistribute.h"
#include "redistribute/tensors.h"

namespace weft::rules {

using comm::Moves;

SplitParts::SplitParts(const at::Tensor& whole, const std::vector<int64_t>& dims) : dims_(dims) {
  const ShardedTensorImpl& impl = sharded(whole);
  layout_ = impl.layout()->without_partial();
  part_ = redistribute_local(impl.local(), whole.sizes(), impl.layout(), layout_);
  whole_.sizes.assign(whole.sizes().begin(), whole.sizes().end());
  whole_.strides = row_major_strides(whole_.sizes);
  rows_.sizes = whole_.sizes;
  TensorLayout::Dims left = layout_->dims();
  for (int64_t d : dims_) {
    for (const Split& s : left[d]) over_.push_back({s.axis, 0});
    left[d].clear();
    rows_.sizes[d] = 1;
  }
  rows_.strides = row_major_strides(rows_.sizes);
  rows_layout_ = TensorLayout::get(layout_->mesh(), std::move(left));
}

Sizes SplitParts::row_sizes() const {
  Sizes sizes(part_.sizes().begin(), part_.sizes().end());
  for (int64_t d : dims_) sizes[d] = 1;
  return sizes;
}

bool SplitParts::gathering_is_cheaper(const at::Tensor& rows, int values, int reductions) const {
  const comm::MeshCost& cost = comm::cost_of(layout_->mesh());
  // The first of each axis has the most: the same answer on all ranks, whatever rows each has.
  const Sizes first(layout_->mesh()->ndim(), 0);
  double row_bytes = static_cast<double>(rows.element_size());
  for (const int64_t size : local_sizes(rows_layout_, rows_.sizes, first)) row_bytes *= static_cast<double>(size);
  double gathered = 0, reduced = 0, bytes = values * row_bytes;
  for (const Split& s : over_) {
    const comm::AxisCost& axis = cost.axes[s.axis];
    bytes *= static_cast<double>(axis.ranks());
    gathered += axis.seconds(Moves::all_gather, bytes);
    reduced += reductions * axis.seconds(Moves::all_reduce, row_bytes);
  }
  return gathered <= reduced;
}

at::Tensor SplitParts::gathered(const at::Tensor& own) const {
  const Mesh mesh = layout_->mesh();
  int64_t parts = 1;
  for (const Split& s : over_) parts *= mesh->axis_size(s.axis);
  TensorLayout::Dims dims = rows_layout_->dims();
  dims.insert(dims.begin(), {over_, {}});
  Sizes sizes = rows_.sizes;
  sizes.insert(sizes.begin(), {parts, own.size(0)});
  const Layout from = TensorLayout::get(mesh, dims);
  dims[0].clear();
  return redistribute_local(own.unsqueeze(0), sizes, from, TensorLayout::get(mesh, dims));
}

int64_t SplitParts::number() const {
  const Coordinates& coordinates = context().bind(layout_->mesh()).coordinates;
  int64_t number = 0;
  for (const Split& s : over_) number = number * layout_->mesh()->axis_size(s.axis) + coordinates[s.axis];
  return number;
}

at::Tensor SplitParts::sum_of_parts(at::Tensor part, at::IntArrayRef sizes) const {
  TensorLayout::Partial partial{};
  for (const Split& s : over_) partial[s.axis] = Reduction::sum;
  const Layout layout = TensorLayout::get(layout_->mesh(), TensorLayout::Dims(sizes.size()), partial);
  const Sizes whole(sizes.begin(), sizes.end());
  return make_sharded(std::move(part), layout, {whole, row_major_strides(whole)});
}

at::Tensor SplitParts::reduced(const at::Tensor& rows, Reduction reduction) const {
  TensorLayout::Partial partial{};
  for (const Split& s : over_) partial[s.axis] = reduction;
  const Layout from = TensorLayout::get(layout_->mesh(), rows_layout_->dims(), partial);
  return redistribute_local(rows, rows_.sizes, from, rows_layout_);
}

bool is_in_order(Layout layout, int64_t dim) {
  const auto& splits = layout->dim(dim);
  return std::all_of(splits.begin(), splits.end(), [](const Split& s) { return s.block == 0; });
}

at::Tensor in_order(const at::Tensor& whole, int64_t dim) {
  const Layout layout = sharded(whole).layout();
  if (is_in_order(layout, dim)) return whole;
  TensorLayout::Dims dims = layout->dims();
  dims[dim].clear();
  return lay_out(whole, TensorLayout::get(layout->mesh(), std::move(dims)));
}

std::vector<at::Tensor> reduced_together(std::vector<at::Tensor> tensors) {
  const at::Tensor& first = tensors.at(0);
  if (!holds_shards(first)) return tensors;
  const Layout layout = sharded(first).layout();
  const bool alike = std::all_of(tensors.begin(), tensors.end(), [&](const at::Tensor& t) {
    return holds_shards(t) && sharded(t).layout() == layout && t.sizes() == first.sizes() &&
           t.scalar_type() == first.scalar_type();
  });
  if (!alike || !layout->has_partial()) return tensors;
  std::vector<at::Tensor> locals;
  for (const at::Tensor& t : tensors) locals.push_back(sharded(t).local());
  TensorLayout::Dims dims = layout->dims();
  dims.emplace(dims.begin());
  Sizes sizes(first.sizes().begin(), first.sizes().end());
  sizes.insert(sizes.begin(), static_cast<int64_t>(tensors.size()));
  const Mesh mesh = layout->mesh();
  const at::Tensor all = redistribute_local(at::stack(locals), sizes, TensorLayout::get(mesh, dims, layout->partial()),
                                            TensorLayout::get(mesh, dims));
  sizes.erase(sizes.begin());
  const Geometry geometry{sizes, row_major_strides(sizes)};
  for (size_t i = 0; i < tensors.size(); ++i) {
    // In memory of its own: it may be a result.
    tensors[i] = make_sharded(all.select(0, static_cast<int64_t>(i)).clone(), layout->without_partial(), geometry);
  }
  return tensors;
}

}  // namespace weft::rules
