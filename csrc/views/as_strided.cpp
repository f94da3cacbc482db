#include <ATen/ops/alias.h>
#include <ATen/ops/as_strided.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/permute.h>
#include <ATen/ops/select.h>
#include <ATen/ops/slice.h>

#include <algorithm>

#include "redistribute/redistribute.h"
#include "tensor/below_autograd.h"
#include "views/region.h"
#include "views/views.h"

namespace weft {
namespace {

Geometry told_by(c10::IntArrayRef sizes, c10::IntArrayRef strides, int64_t offset) {
  TORCH_CHECK(sizes.size() == strides.size(), "[W068] [as_strided] mismatch in length of strides ", strides,
              " and shape ", sizes);
  for (int64_t stride : strides) {
    TORCH_CHECK(stride >= 0, "[W068] [as_strided] negative strides are not supported, got ", strides);
  }
  Geometry view;
  view.sizes.assign(sizes.begin(), sizes.end());
  view.strides.assign(strides.begin(), strides.end());
  view.offset = offset;
  return view;
}

// What a view is a view of, where the view's numbers are the root's; undefined: it is no view, or sees other numbers.
at::Tensor root_alike(const at::Tensor& view) {
  if (!sharded(view).chain()) return {};
  const at::Tensor root = root_of(view), local = sharded(view).local();
  const at::Tensor& whole = sharded(root).local();
  const bool alike = local.scalar_type() == whole.scalar_type() && local.is_conj() == whole.is_conj() &&
                     local.is_neg() == whole.is_neg();
  return alike ? root : at::Tensor();
}

// It folds or splits dimensions: seen in the full tensor's own memory order, of which only a replicated tensor has all.
at::Tensor in_memory(const OpInfo& op, const at::Tensor& self, const Geometry& view) {
  const ShardedTensorImpl& impl = sharded(self);
  const Geometry base = impl.geometry();
  const Layout replicated = TensorLayout::replicated(impl.layout()->mesh(), self.dim());
  at::Tensor memory = impl.local();
  if (impl.layout() != replicated || !memory.strides().equals(base.strides)) {
    memory = at::empty_strided(base.sizes, base.strides, impl.local().options());
    memory.copy_(redistribute_local(impl.local(), base.sizes, impl.layout(), replicated));
  }
  const std::vector<c10::IValue> arguments = {c10::IntArrayRef(view.sizes), c10::IntArrayRef(view.strides),
                                              view.offset};
  at::Tensor local = memory.as_strided(view.sizes, view.strides, view.offset - base.offset + memory.storage_offset());
  return wrap_view(op, arguments, self, memory, std::move(local),
                   TensorLayout::replicated(replicated->mesh(), static_cast<int64_t>(view.sizes.size())), view, -1);
}

// The region of `out`, which has those ranges' dimensions, by views that autograd knows.
at::Tensor of_region(at::Tensor out, const std::vector<Range>& ranges, c10::IntArrayRef sizes) {
  std::vector<int> view_dims;
  for (size_t d = ranges.size(); d-- > 0;) {
    const Range& r = ranges[d];
    const auto dim = static_cast<int64_t>(d);
    if (r.view_dim < 0) {
      out = out.select(dim, r.start);
    } else {
      view_dims.insert(view_dims.begin(), r.view_dim);
      const int64_t end = r.length == 0 ? r.start : r.start + (r.length - 1) * r.step + 1;
      if (r.start != 0 || r.step != 1 || r.length != out.size(dim)) {
        out = out.slice(dim, r.start, end, std::max<int64_t>(r.step, 1));
      }
    }
  }
  // Dimensions of length 1 and broadcast ones, then the view's order.
  std::vector<int64_t> order(sizes.size());
  int64_t next = static_cast<int64_t>(view_dims.size());
  for (size_t v = 0; v < sizes.size(); ++v) {
    auto it = std::find(view_dims.begin(), view_dims.end(), static_cast<int>(v));
    if (it != view_dims.end()) {
      order[v] = it - view_dims.begin();
    } else {
      out = out.unsqueeze(-1);
      order[v] = next++;
    }
  }
  bool identity = true;
  for (size_t v = 0; v < order.size(); ++v) identity = identity && order[v] == static_cast<int64_t>(v);
  if (!identity) out = out.permute(order);
  if (!out.sizes().equals(sizes)) out = out.expand(sizes);
  return out;
}

at::Tensor by_views(const at::Tensor& self, const Geometry& view);

// A view that runs along one dimension twice, from window to window and within each (frames of a spectrogram, chunks
// that overlap), as Tensor.unfold of one that does so once; undefined where it is none.
at::Tensor in_windows(const at::Tensor& self, const Geometry& view) {
  for (size_t outer = 0; outer < view.sizes.size(); ++outer) {
    for (size_t inner = 0; inner < view.sizes.size(); ++inner) {
      const int64_t near = view.strides[inner], far = view.strides[outer];
      if (view.sizes[outer] < 2 || view.sizes[inner] < 2 || near < 1 || far <= near || far % near != 0) continue;
      const int64_t step = far / near, length = view.sizes[inner];
      Geometry once = view;
      once.sizes[inner] += (view.sizes[outer] - 1) * step;
      once.sizes.erase(once.sizes.begin() + static_cast<int64_t>(outer));
      once.strides.erase(once.strides.begin() + static_cast<int64_t>(outer));
      const at::Tensor along = by_views(self, once);
      if (!along.defined()) continue;
      const auto place = static_cast<int64_t>(inner - (outer < inner ? 1 : 0));
      std::vector<int64_t> order;
      for (size_t v = 0; v < view.sizes.size(); ++v) {
        order.push_back(v == outer ? place : v == inner ? along.dim() : static_cast<int64_t>(v - (outer < v ? 1 : 0)));
      }
      return along.unfold(place, length, step).permute(order);
    }
  }
  return {};
}

// With dimensions that are one in memory, and that nothing splits, as one: chunks of a dimension that was cut before.
at::Tensor folded(at::Tensor self) {
  for (int64_t d = self.dim() - 1; d > 0; --d) {
    const Layout layout = sharded(self).layout();
    const bool whole = layout->dim(d - 1).empty() && layout->dim(d).empty();
    if (whole && self.stride(d - 1) == self.stride(d) * self.size(d)) self = self.flatten(d - 1, d);
  }
  return self;
}

at::Tensor by_views(const at::Tensor& self, const Geometry& view) {
  if (self.numel() == 0) return {};  // nothing to point at
  if (const auto ranges = decode_region(sharded(self).geometry(), view)) return of_region(self, *ranges, view.sizes);
  if (at::Tensor out = in_windows(self, view); out.defined()) return out;
  const at::Tensor fewer = folded(self);
  return fewer.dim() < self.dim() ? by_views(fewer, view) : at::Tensor();
}

}  // namespace

at::Tensor as_strided(const OpInfo& op, const at::Tensor& self, c10::IntArrayRef sizes, c10::IntArrayRef strides,
                      int64_t offset) {
  const Geometry view = told_by(sizes, strides, offset);
  BelowAutograd guard;
  if (const at::Tensor out = by_views(share(self), view); out.defined()) return out;
  // It may reach past what self sees.
  if (const at::Tensor root = root_alike(self); root.defined()) return as_strided(op, root, sizes, strides, offset);
  return in_memory(op, self, view);
}

at::Tensor as_differentiable_views(const at::Tensor& self, c10::IntArrayRef sizes, c10::IntArrayRef strides,
                                   int64_t offset) {
  return by_views(at::alias(self), told_by(sizes, strides, offset));
}

}  // namespace weft
