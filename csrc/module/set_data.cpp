#include "module/set_data.h"

#include <c10/util/StringUtil.h>

#include <limits>

#include "comm/agree/check_same.h"
#include "dispatch/call_identity.h"
#include "redistribute/redistribute.h"
#include "redistribute/tensors.h"
#include "tensor/below_autograd.h"
#include "tensor/memory.h"
#include "tensor/op_history.h"
#include "tensor/sharded.h"
#include "tensor/strided.h"

namespace weft {
namespace {

constexpr const char* kName = "set_data";

// Splits of whole dimensions fit every shape; blocks, which views leave behind, do not.
Layout without_blocks(Layout layout) {
  TensorLayout::Dims dims = layout->dims();
  for (auto& dim : dims) {
    for (Split& split : dim) split.block = 0;
  }
  return TensorLayout::get(layout->mesh(), std::move(dims));
}

// The layout that the variable keeps, whatever it is set to.
Layout home_of(const ShardedTensorImpl& variable) {
  const Layout home = variable.cell().home;
  return home != nullptr ? home : without_blocks(variable.layout());
}

// Ranks with other values are found as with an op's plain operands.
Identity identify(const at::Tensor& value, const std::string* path, Mesh mesh) {
  OpHistory::Op call{.name = kName, .plain_operand = "value"};
  call.plain = mix(1, static_cast<uint64_t>(value.scalar_type()));
  for (int64_t size : value.sizes()) call.plain = mix(call.plain, static_cast<uint64_t>(size));
  // Weights may be memory that is filled later.
  const bool filled = !value.requires_grad();
  if (checks_plain()) {
    const uint64_t whole = filled ? sample(value.cpu(), std::numeric_limits<int64_t>::max()) : 0;
    comm::check_same({static_cast<int64_t>(mix(call.plain, whole))},
                     c10::str("[", kName, "] the plain operand 'value'", path == nullptr ? "" : " for ",
                              path == nullptr ? "" : *path, " counts as the same value on all ranks, and"),
                     mesh);
  }
  if (filled) call.plain = mix(call.plain, sample(value, kValueWords));
  OpHistory::of_thread().add(call);
  return mix(new_root(kName), call.plain);
}

at::Tensor from_plain(const ShardedTensorImpl& variable, const at::Tensor& value) {
  check_strided(kName, value);
  check_memory(kName, value);
  const Layout home = home_of(variable);
  const Layout layout = home->ndim() == value.dim() ? home : TensorLayout::replicated(home->mesh(), value.dim());
  const std::string* path = variable.interned_path();
  const RunningOp running(kName, identify(value, path, home->mesh()), path);
  at::Tensor out = lay_out(value, layout);
  Cell& cell = sharded(out).cell();
  cell.path = path;
  if (layout != home) cell.home = home;
  return out;
}

// The layout of the root under which a view of all of it, with its dimensions in another order, lies as `home`. Null:
// it is another view.
Layout of_root(const Geometry& view, const Geometry& root, Layout home) {
  const auto n = root.sizes.size();
  if (view.sizes.size() != n || view.offset != root.offset) return nullptr;
  TensorLayout::Dims dims(n);
  std::vector<bool> taken(n);
  for (size_t d = 0; d < n; ++d) {
    size_t r = 0;
    while (r < n && (taken[r] || view.sizes[d] != root.sizes[r] || view.strides[d] != root.strides[r])) ++r;
    if (r == n) return nullptr;
    taken[r] = true;
    dims[r] = home->dim(static_cast<int64_t>(d));
  }
  return TensorLayout::get(home->mesh(), std::move(dims));
}

void bring_home(const ShardedTensorImpl& variable, const at::Tensor& value) {
  const ShardedTensorImpl& impl = sharded(value);
  const std::string* path = variable.interned_path();
  // Another variable's data is shared as it lies.
  if (path == nullptr || impl.interned_path() != nullptr) return;
  const Layout home = home_of(variable);
  Cell& cell = impl.cell();
  const Layout now = impl.layout();
  if (home->mesh() != now->mesh()) return;
  cell.path = path;
  if (home->ndim() != value.dim()) {
    cell.home = home;
  } else if (const Layout to = now == home ? nullptr : of_root(impl.geometry(), cell.geometry, home)) {
    BelowAutograd guard;
    const RunningOp running(kName, impl.identity(), path, /*keeps_value=*/true);
    redistribute_content(cell, to);
  }
}

at::Tensor data_of(const ShardedTensorImpl& variable, const at::Tensor& value) {
  if (!holds_shards(value)) return from_plain(variable, value);
  bring_home(variable, value);
  return value;
}

[[maybe_unused]] const bool set_data_is_set = (set_set_data([](ShardedTensorImpl& variable, const at::Tensor& value) {
                                                 variable.swap_impl(sharded(data_of(variable, value)));
                                               }),
                                               true);

}  // namespace

at::Tensor as_data_of(const at::Tensor& variable, const at::Tensor& value) {
  TORCH_CHECK_VALUE(holds_shards(variable), "[W035] ", kName, ": a plain tensor has no layout to keep");
  return data_of(sharded(variable), value);
}

}  // namespace weft
