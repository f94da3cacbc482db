#include "dispatch/sparse.h"

#include <ATen/Functions.h>
#include <weft/tensor.h>

#include <bit>
#include <optional>

#include "base/hash.h"
#include "layout/shard.h"
#include "mesh/context.h"
#include "redistribute/tensors.h"
#include "tensor/below_autograd.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

// Where global indices of dimension `d` lie in this rank's shard; -1: nowhere.
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

at::Tensor columns(const at::Tensor& values, int64_t dim, const std::vector<IndexRange>& held) {
  std::vector<at::Tensor> parts;
  for (const IndexRange& range : held) parts.push_back(values.narrow(dim, range.start, range.length));
  return parts.size() == 1 ? parts[0] : at::cat(parts, dim);
}

// What of a plain sparse tensor falls into this rank's shard of a tensor of that layout.
at::Tensor local_part(const at::Tensor& sparse, Layout layout) {
  const auto& coordinates = context().bind(layout->mesh()).coordinates;
  at::Tensor indices = sparse._indices(), values = sparse._values();
  const int64_t sparse_dim = sparse.sparse_dim();
  const auto held = [&](int64_t d) { return local_indices(layout, d, sparse.size(d), coordinates); };
  std::vector<at::Tensor> rows;
  at::Tensor here;
  for (int64_t d = 0; d < sparse_dim; ++d) {
    rows.push_back(layout->dim(d).empty() ? indices[d] : places(indices[d], held(d)));
    if (layout->dim(d).empty()) continue;
    const at::Tensor in = rows.back().ge(0);
    here = here.defined() ? here.logical_and(in) : in;
  }
  for (int64_t d = sparse_dim; d < sparse.dim(); ++d) {
    if (!layout->dim(d).empty()) values = columns(values, d - sparse_dim + 1, held(d));
  }
  indices = at::stack(rows);
  if (here.defined()) {
    const at::Tensor chosen = here.nonzero().squeeze(1);
    indices = indices.index_select(1, chosen);
    values = values.index_select(0, chosen);
  }
  return at::_sparse_coo_tensor_unsafe(indices, values, local_sizes(layout, sparse.sizes(), coordinates),
                                       values.options().layout(at::kSparse));
}

// All that a sum with a sparse tensor depends on.
Identity identity_of_sum(const at::Tensor& self, const at::Tensor& sparse, const at::Scalar& alpha) {
  constexpr int64_t kWords = 128;
  Identity identity = mix(hash_text("add_ sparse"), sharded(self).identity());
  identity = mix(mix(identity, sample(sparse._indices(), kWords)), sample(sparse._values(), kWords));
  const c10::complex<double> times = alpha.toComplexDouble();
  return mix(mix(identity, std::bit_cast<uint64_t>(times.real())), std::bit_cast<uint64_t>(times.imag()));
}

// As core: the dense one comes first.
void check_dense_first(const at::Tensor& self) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      holds_shards(self),
      "[W064] [add] a sharded tensor cannot be added to a sparse one: write sharded + sparse, or call "
      "weft.full_tensor(x) on the sharded one first (on every rank)");
}

at::Tensor& add_(at::Tensor& self, const at::Tensor& other, const at::Scalar& alpha) {
  check_dense_first(self);
  TORCH_CHECK(self.sizes().equals(other.sizes()), "[W068] [add_] a sparse tensor of shape ", other.sizes(),
              " cannot be added to one of shape ", self.sizes(), ": they must be the same");
  const BelowAutograd guard;
  const ShardedTensorImpl& impl = sharded(self);
  if (impl.layout()->has_partial() || impl.is_moved() || other.layout() != at::kSparse) {
    return self.add_(other.to_dense(), alpha);
  }
  const Identity identity = identity_of_sum(self, other, alpha);
  impl.local().add_(local_part(other, impl.layout()), alpha);
  sharded(self).wrote();
  sharded(self).set_identity(identity);
  return self;
}

at::Tensor add(const at::Tensor& self, const at::Tensor& other, const at::Scalar& alpha) {
  check_dense_first(self);
  const BelowAutograd guard;
  at::Tensor sum = self.to(at::result_type(self, other), /*non_blocking=*/false, /*copy=*/true);
  return sum.add_(other, alpha);
}

at::Tensor sparse_mask(const at::Tensor& self, const at::Tensor& mask) {
  TORCH_CHECK_NOT_IMPLEMENTED(holds_shards(self) && mask.layout() == at::kSparse,
                              "[W064] [sparse_mask] takes a sharded tensor and a sparse COO mask");
  const BelowAutograd guard;
  const at::Tensor indices = mask._indices();
  at::Tensor values;
  if (mask.sparse_dim() == 1) {
    values = self.index_select(0, indices[0]);
  } else {
    c10::List<std::optional<at::Tensor>> all;
    for (int64_t d = 0; d < mask.sparse_dim(); ++d) all.push_back(indices[d]);
    values = self.index(all);
  }
  return at::_sparse_coo_tensor_unsafe(indices, full_or_alias(values), mask.sizes(),
                                       mask.options().dtype(self.scalar_type()), mask.is_coalesced());
}

at::Tensor make(int64_t sparse_dim, int64_t dense_dim, at::IntArrayRef sizes, const at::Tensor& indices,
                const at::Tensor& values, std::optional<at::ScalarType> dtype, std::optional<at::Layout> layout,
                std::optional<at::Device> device, std::optional<bool> pin_memory, std::optional<bool> is_coalesced) {
  return at::_sparse_coo_tensor_with_dims_and_tensors(
      sparse_dim, dense_dim, sizes, full_or_alias(indices), full_or_alias(values),
      at::TensorOptions().dtype(dtype).layout(layout).device(device).pinned_memory(pin_memory), is_coalesced);
}

}  // namespace

void register_sparse(std::vector<std::unique_ptr<torch::Library>>& libraries) {
  const auto key = mixed_key(c10::DispatchKey::Sparse);
  torch::Library& library =
      *libraries.emplace_back(std::make_unique<torch::Library>(torch::Library::IMPL, "aten", key, __FILE__, __LINE__));
  library.impl("_sparse_coo_tensor_with_dims_and_tensors", TORCH_FN(make));
  library.impl("add_.Tensor", TORCH_FN(add_));
  library.impl("add.Tensor", TORCH_FN(add));
  library.impl("sparse_mask", TORCH_FN(sparse_mask));
}

}  // namespace weft
