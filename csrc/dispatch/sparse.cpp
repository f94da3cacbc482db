#include "dispatch/sparse.h"

#include <ATen/Functions.h>
#include <weft/tensor.h>

#include <optional>

#include "dispatch/boxed_call.h"
#include "dispatch/sparse_kinds.h"
#include "dispatch/special.h"
#include "redistribute/sparse.h"
#include "redistribute/tensors.h"
#include "tensor/below_autograd.h"
#include "tensor/strided.h"
#include "views/views.h"

namespace weft {

at::Tensor coalesced(const at::Tensor& sparse) {
  const Pattern old = pattern_of(sparse);
  if (old->coalesced) return sparse;
  at::Tensor indices = old->indices;
  if (!indices.is_meta()) {
    const at::Tensor all = at::_sparse_coo_tensor_unsafe(indices, at::zeros({old->count()}, indices.options()),
                                                         at::IntArrayRef(old->sizes).slice(0, old->sparse_dim()),
                                                         indices.options().layout(at::kSparse));
    indices = all.coalesce()._indices();
  }
  const Pattern merged = make_pattern(indices, old->layout, old->sizes, true);
  if (old->layout->mesh()->is_simulated()) {
    Sizes sizes(local_values(sparse).sizes().begin(), local_values(sparse).sizes().end());
    sizes[0] = merged->here.defined() ? merged->here.size(0) : merged->count();
    return make_sparse(merged, at::empty(sizes, local_values(sparse).options()));
  }
  // The shard's come in the same order: both by rising indices.
  return make_sparse(merged, sharded(sparse).local().coalesce()._values());
}

namespace {

void set_coalesced(const at::Tensor& sparse, bool flag) {
  auto pattern = std::make_shared<SparsePattern>(*pattern_of(sparse));
  pattern->coalesced = flag;
  set_entries(sparse, std::move(pattern), local_values(sparse));
}

at::Tensor dense_of(const at::Tensor& sparse, const c10::IValue& dtype = {}) {
  const ShardedTensorImpl& impl = sharded(sparse);
  const auto type = dtype.isNone() ? std::nullopt : std::make_optional(dtype.toScalarType());
  const at::Tensor local = impl.local();
  at::Tensor dense =
      local.is_meta() ? at::empty(local.sizes(), local_values(sparse).options().dtype(type)) : local.to_dense(type);
  return make_sharded(std::move(dense), impl.layout(), impl.geometry());
}

void check_sizes(const char* op, const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(a.sizes().equals(b.sizes()), "[W068] [", op, "] a sparse tensor of shape ", b.sizes(),
              " cannot be added to one of shape ", a.sizes(), ": they must be the same");
}

// Both sparse, at least one with a layout, which the sum takes.
at::Tensor sum_of_sparse(const at::Tensor& a, const at::Tensor& b, const at::Scalar& alpha) {
  check_sizes("add", a, b);
  TORCH_CHECK(a.sparse_dim() == b.sparse_dim(), "[W068] [add] sparse tensors of ", a.sparse_dim(), " and ",
              b.sparse_dim(), " sparse dimensions cannot be added");
  const Layout layout = sharded(has_pattern(a) ? a : b).layout();
  const at::Tensor left = lay_out_sparse(a, layout), right = lay_out_sparse(b, layout);
  const Pattern first = pattern_of(left), second = pattern_of(right);
  const auto type = at::result_type(a, b);
  const at::Tensor values = at::cat({local_values(left).to(type), local_values(right).to(type).mul(alpha)});
  // Each rank's in the order of the full tensor's: the first tensor's, then the second's.
  const at::Tensor indices = at::cat({first->indices, second->indices}, 1);
  at::Tensor sum = make_sparse(make_pattern(indices, layout, first->sizes, false), values);
  const bool grown = indices.size(1) > a.numel();
  return (first->coalesced && second->coalesced) || grown ? coalesced(sum) : sum;
}

// A sparse tensor with the layout of the dense one, if that is nobody else's and has nothing pending; undefined
// otherwise.
at::Tensor beside(const at::Tensor& dense, const at::Tensor& sparse) {
  const ShardedTensorImpl& impl = sharded(dense);
  if (impl.layout()->has_partial() || impl.is_moved()) return {};
  return lay_out_sparse(sparse, impl.layout());
}

void add_in_place(const at::Tensor& self, const at::Tensor& other, const at::Scalar& alpha) {
  if (is_coo(self)) {
    if (!has_pattern(self)) {
      self.add_(full_sparse(other), alpha);
      return;
    }
    const at::Tensor sum = sum_of_sparse(self, other, alpha);
    set_entries(self, pattern_of(sum), local_values(sum).to(self.scalar_type()));
    sharded(self).wrote();
    return;
  }
  check_sizes("add_", self, other);
  if (!holds_shards(self)) {
    self.add_(full_sparse(other), alpha);
    return;
  }
  const at::Tensor laid_out = beside(self, other);
  if (!laid_out.defined()) {
    self.add_(has_pattern(other) ? dense_of(other) : other.to_dense(), alpha);
    return;
  }
  const at::Tensor local = sharded(self).local();
  if (!local.is_meta()) local.add_(sharded(laid_out).local(), alpha);
  sharded(self).wrote();
}

}  // namespace

// add, sub and theirs in place. As core: a dense one comes first.
void run_sparse_sum(BoxedCall& call) {
  const at::Tensor self = call.tensor(0), other = call.tensor(1);
  const at::Scalar given = call[2].toScalar();
  const at::Scalar alpha = call.op.short_name.rfind("sub", 0) == 0 ? -given : given;
  TORCH_CHECK_NOT_IMPLEMENTED(
      is_coo(other) && (!is_coo(self) || self.layout() == other.layout()),
      "[W064] [add] a sharded tensor cannot be added to a sparse one: write sharded + sparse, or call "
      "weft.full_tensor(x) on the sharded one first (on every rank)");
  if (call.op.writes) {
    add_in_place(self, other, alpha);
    return call.finish(self);
  }
  if (is_coo(self)) return call.finish(sum_of_sparse(self, other, alpha));
  const at::Tensor sum = self.to(at::result_type(self, other), /*non_blocking=*/false, /*copy=*/true);
  add_in_place(sum, other, alpha);
  call.finish(sum);
}

void run_sparse_mask(BoxedCall& call) {
  const at::Tensor self = call.tensor(0), mask = call.tensor(1);
  if (!is_coo(mask) || is_coo(self)) refuse_kind("sparse_mask", "sparse");
  if (!holds_shards(self)) return call.finish(self.sparse_mask(full_sparse(mask)));
  const at::Tensor unreduced = redistribute_tensor(self, sharded(self).layout()->without_partial());
  const at::Tensor laid_out = lay_out_sparse(mask, sharded(unreduced).layout());
  const at::Tensor indices = sharded(laid_out).local()._indices(), from = sharded(unreduced).local();
  c10::List<std::optional<at::Tensor>> all;
  for (const at::Tensor& of_dim : indices.unbind(0)) all.push_back(of_dim);
  call.finish(make_sparse(pattern_of(laid_out), from.index(all)));
}

// Makes a sparse tensor of its indices and values.
void run_sparse_make(BoxedCall& call) {
  const at::Tensor indices = call.tensor(3), values = call.tensor(4);
  const auto sizes = call[2].toIntVector();
  const bool coalesced = !call[9].isNone() && call[9].toBool();
  if (!holds_shards(values)) {
    call[3] = full_or_alias(indices);
    return call.op.handle.callBoxed(call.stack());
  }
  const Pattern known = pattern_of(values);
  if (known != nullptr && at::IntArrayRef(known->sizes).equals(sizes) &&
      indices.sizes().equals(known->indices.sizes()) && indices.is_alias_of(known->indices)) {
    auto pattern = std::make_shared<SparsePattern>(*known);
    pattern->coalesced = coalesced;
    return call.finish(make_sparse(std::move(pattern), sharded(values).local()));
  }
  // Without more it is of all rows: who knows whose it is lays it out further.
  TensorLayout::Dims dims(sizes.size());
  const at::Tensor plain = full_or_alias(indices), gathered = gather_entries(values);
  const Layout of_values = sharded(gathered).layout();
  const auto sparse_dim = static_cast<size_t>(call[0].toInt());
  for (size_t d = sparse_dim; d < dims.size(); ++d) dims[d] = of_values->dim(d - sparse_dim + 1);
  TensorLayout::Dims rows_whole = of_values->dims();
  rows_whole[0].clear();
  const at::Tensor laid_out = lay_out(gathered, TensorLayout::get(of_values->mesh(), std::move(rows_whole)));
  const Layout layout = TensorLayout::get(of_values->mesh(), std::move(dims));
  call.finish(make_sparse(make_pattern(plain, layout, sizes, coalesced), sharded(laid_out).local()));
}

void run_sparse_zero(BoxedCall& call) {
  const at::Tensor self = call.tensor(0);
  const Pattern old = pattern_of(self);
  set_entries(self, make_pattern(old->indices.narrow(1, 0, 0), old->layout, old->sizes, old->coalesced),
              local_values(self).narrow(0, 0, 0));
  sharded(self).wrote();
  call.finish(self);
}

void run_sparse_copy(BoxedCall& call) {
  const at::Tensor self = call.tensor(0), source = call.tensor(1);
  if (!is_coo(self) || !is_coo(source)) refuse_kind("copy_", "sparse");
  if (!has_pattern(self)) {
    self.copy_(full_sparse(source));
    return call.finish(self);
  }
  check_sizes("copy_", self, source);
  const at::Tensor laid_out = lay_out_sparse(source, sharded(self).layout());
  set_entries(self, pattern_of(laid_out), local_values(laid_out).to(self.options().layout(at::kStrided), false, true));
  sharded(self).wrote();
  call.finish(self);
}

// What depends on the values alone, with zeros among them or not.
void run_sparse_reduction(BoxedCall& call) {
  call[0] = padded_entries(entries_of(coalesced(call.tensor(0))));
  call.op.handle.callBoxed(call.stack());
}

void run_sparse_dim(BoxedCall& call) { call.finish(pattern_of(call.tensor(0))->sparse_dim()); }

void run_dense_dim(BoxedCall& call) { call.finish(call.tensor(0).dim() - pattern_of(call.tensor(0))->sparse_dim()); }

void run_count(BoxedCall& call) { call.finish(pattern_of(call.tensor(0))->count()); }

void run_is_coalesced(BoxedCall& call) { call.finish(pattern_of(call.tensor(0))->coalesced); }

void run_set_coalesced(BoxedCall& call) {
  const at::Tensor self = call.tensor(0);
  set_coalesced(self, call[1].toBool());
  call.finish(self);
}

void run_indices(BoxedCall& call) { call.finish(pattern_of(call.tensor(0))->indices); }

void run_values(BoxedCall& call) { call.finish(entries_of(call.tensor(0))); }

void run_coalesce(BoxedCall& call) { call.finish(coalesced(call.tensor(0))); }

void run_to_dense(BoxedCall& call) { call.finish(dense_of(call.tensor(0), call[1])); }

void run_sparse_alias(BoxedCall& call) { call.finish(share(call.tensor(0))); }

void run_sparse_identity(BoxedCall& call) { call.finish(call.tensor(0)); }

}  // namespace weft
