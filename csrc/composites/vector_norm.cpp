// Vector norms over split dimensions.
#include <ATen/Functions.h>

#include <algorithm>
#include <limits>

#include "composites/arguments.h"
#include "composites/composites.h"
#include "redistribute/redistribute.h"
#include "tensor/sharded.h"

namespace weft::rules {

using Op = const c10::OperatorHandle&;

namespace {

// As what norms of parts are pending: sums of absolutes, largest, root of squares; none: they do not combine.
Reduction combination(double order) {
  if (order == 2) return Reduction::norm2;
  if (order == 1) return Reduction::sum;
  if (order == std::numeric_limits<double>::infinity()) return Reduction::max;
  if (order == -std::numeric_limits<double>::infinity()) return Reduction::min;
  return Reduction::none;
}

// What the norm of a shard is made of.
struct NormedShard {
  at::Tensor local;
  Layout layout;
  TensorLayout::Partial partial{};  // that the norm has beside its own
};

// Pending norms of parts pass; any other pending value is needed whole.
NormedShard normed_shard(const at::Tensor& x, Reduction reduction) {
  const ShardedTensorImpl& impl = sharded(x);
  NormedShard shard{impl.local(), impl.layout(), {}};
  bool whole = false;
  for (int a = 0; a < shard.layout->mesh()->ndim(); ++a) {
    const Reduction r = shard.layout->partial()[a];
    if (r == Reduction::none) continue;
    whole = whole || r != Reduction::norm2 || reduction != Reduction::norm2;
    shard.partial[a] = r;
  }
  if (!whole) return shard;
  const Layout without = shard.layout->without_partial();
  return {redistribute_local(shard.local, x.sizes(), shard.layout, without), without, {}};
}

// How norms lie.
struct NormPlace {
  Layout layout;
  Geometry geometry;
};

// Of norms of the shards over those dimensions: pending over the axes that split them.
NormPlace place_of_norm(const at::Tensor& x, const NormedShard& shard, const std::vector<int64_t>& dims, bool keepdim,
                        Reduction reduction) {
  TensorLayout::Dims out_dims;
  TensorLayout::Partial partial = shard.partial;
  Geometry geometry;
  for (int64_t d = 0; d < x.dim(); ++d) {
    const bool reduced = std::find(dims.begin(), dims.end(), d) != dims.end();
    if (reduced) {
      for (const Split& s : shard.layout->dim(d)) partial[s.axis] = reduction;
      if (keepdim) out_dims.emplace_back();
      if (keepdim) geometry.sizes.push_back(1);
    } else {
      out_dims.push_back(shard.layout->dim(d));
      geometry.sizes.push_back(x.size(d));
    }
  }
  geometry.strides = row_major_strides(geometry.sizes);
  return {TensorLayout::get(shard.layout->mesh(), std::move(out_dims), partial), std::move(geometry)};
}

at::Tensor norm_of_shard(const at::Tensor& x, const NormedShard& shard, double order, const std::vector<int64_t>& dims,
                         bool keepdim, std::optional<at::ScalarType> dtype) {
  int64_t length = 1;
  for (int64_t d : dims) length *= shard.local.size(d);
  at::Tensor norm;
  if (length == 0) {
    // Nothing here: what does not change the others' combination.
    const double identity = order < 0 ? std::numeric_limits<double>::infinity() : 0;
    auto sizes = at::linalg_vector_norm(shard.local.to(at::kMeta), 2, dims, keepdim, dtype);
    norm = at::full(sizes.sizes(), identity, shard.local.options().dtype(sizes.scalar_type()));
  } else {
    norm = at::linalg_vector_norm(shard.local, order, dims, keepdim, dtype);
  }
  const NormPlace place = place_of_norm(x, shard, dims, keepdim, combination(order));
  return make_sharded(std::move(norm), place.layout, place.geometry);
}

at::Tensor vector_norm(const at::Tensor& x, double order, std::vector<int64_t> dims, bool keepdim,
                       std::optional<at::ScalarType> dtype) {
  const Reduction reduction = combination(order);
  dims = wrapped_dims(std::move(dims), x.dim());
  if (x.numel() == 0) at::linalg_vector_norm(full_or_alias(x), order, dims, keepdim, dtype);  // some have no value
  if (reduction == Reduction::none) {
    const at::ScalarType type = dtype.value_or(x.scalar_type());
    const at::Tensor y = x.to(accumulation_type(type));  // powers of halves leave their range
    at::Tensor sum = order == 0 ? y.ne(0).to(c10::toRealValueType(y.scalar_type())).sum(dims, keepdim)
                                : y.abs().pow(order).sum(dims, keepdim).pow(1 / order);
    return sum.to(c10::toRealValueType(type));
  }
  return norm_of_shard(x, normed_shard(x, reduction), order, dims, keepdim, dtype);
}

}  // namespace

void run_vector_norm(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  at::Tensor out = vector_norm(a.tensor(0), a[1].toScalar().toDouble(), a.ints(2), a[3].toBool(), a.dtype(4));
  a.finish(out);
}

void run_norm(Op op, CompositeStack& stack) {
  // norm (self, p), (self, p, dim, keepdim), either with a dtype at the end
  Arguments a(op, stack);
  const size_t n = op.schema().arguments().size();
  const bool dims = n > 3;
  const double order = a[1].isNone() ? 2 : a[1].toScalar().toDouble();
  a.finish(vector_norm(a.tensor(0), order, dims ? a.ints(2) : std::vector<int64_t>(), dims && a[3].toBool(),
                       n % 2 == 1 ? a.dtype(n - 1) : std::nullopt));
}

void run_distance(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  a.finish(vector_norm(a.tensor(0) - a.tensor(1), a[2].toScalar().toDouble(), {}, false, std::nullopt));
}

// Of plain tensors and shards by one call, which is one kernel on GPUs; where norms of parts do not combine, or a shard
// has no elements, one by one.
void run_foreach_norm(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const double order = a[1].toScalar().toDouble();
  const Reduction reduction = combination(order);
  const std::vector<at::Tensor> tensors = a[0].toTensorVector();
  std::vector<NormedShard> shards;
  std::vector<at::Tensor> together;
  shards.reserve(tensors.size());
  together.reserve(tensors.size());
  for (const at::Tensor& t : tensors) {
    const bool pending = holds_shards(t) && reduction != Reduction::none;
    shards.push_back(pending ? normed_shard(t, reduction) : NormedShard{holds_shards(t) ? at::Tensor() : t, {}, {}});
    if (shards.back().local.defined() && shards.back().local.numel() > 0) together.push_back(shards.back().local);
  }
  std::vector<at::Tensor> found;
  if (!together.empty()) found = at::_foreach_norm(together, a[1].toScalar(), a.dtype(2));
  c10::List<at::Tensor> norms;
  norms.reserve(tensors.size());
  auto next = found.begin();
  const NormedShard* before = nullptr;
  NormPlace place{};
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor& t = tensors[i];
    if (!shards[i].local.defined()) {
      norms.push_back(vector_norm(t, order, {}, false, a.dtype(2)));
    } else if (shards[i].local.numel() == 0) {
      // A shard may be empty on this rank alone: nothing more may be sent.
      norms.push_back(shards[i].layout == nullptr
                          ? at::linalg_vector_norm(t, a[1].toScalar(), std::nullopt, false, a.dtype(2))
                          : norm_of_shard(t, shards[i], order, wrapped_dims({}, t.dim()), false, a.dtype(2)));
    } else if (shards[i].layout == nullptr) {
      norms.push_back(std::move(*next++));
    } else {
      const NormedShard& shard = shards[i];
      // Most of a list are laid out as the one before.
      if (before == nullptr || shard.layout != before->layout || shard.partial != before->partial) {
        place = place_of_norm(t, shard, wrapped_dims({}, t.dim()), false, reduction);
      }
      before = &shard;
      norms.push_back(make_sharded(std::move(*next++), place.layout, place.geometry));
    }
  }
  a.finish(norms);
}

}  // namespace weft::rules
