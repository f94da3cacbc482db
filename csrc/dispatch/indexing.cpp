#include "dispatch/indexing.h"

#include <ATen/core/List.h>
#include <ATen/ops/nonzero.h>
#include <weft/tensor.h>

#include "dispatch/handler.h"
#include "plan/strict.h"
#include "redistribute/tensors.h"
#include "tensor/below_autograd.h"
#include "tensor/sharded.h"
#include "tensor/unreal.h"

namespace weft {
namespace {

using Index = std::optional<at::Tensor>;

bool is_mask(const Index& index) {
  return index && index->defined() && (index->scalar_type() == at::kBool || index->scalar_type() == at::kByte);
}

// TorchScript's lists of tensors alone say that they hold tensors, not that they hold optional ones.
std::vector<Index> indices_in(const c10::IValue& list) {
  std::vector<Index> indices;
  for (const c10::IValue& index : list.toListRef()) {
    indices.push_back(index.isTensor() ? Index(index.toTensor()) : std::nullopt);
  }
  return indices;
}

// Whether all that a mask at dimension `from` of a tensor of `ndim` dimensions chooses is given the same.
bool same_for_all(const at::Tensor& values, const at::Tensor& mask, int64_t ndim, int64_t from) {
  const int64_t behind = ndim - from - mask.dim();  // dimensions of self
  return values.dim() <= behind || values.size(values.dim() - 1 - behind) == 1;
}

// None, where core is to say what is wrong with them.
std::optional<c10::List<Index>> positions(const OpInfo& op, const at::Tensor& self, const std::vector<Index>& indices) {
  c10::List<Index> out;
  for (const auto& index : indices) {
    if (!is_mask(index)) {
      out.push_back(index);
      continue;
    }
    const auto from = static_cast<int64_t>(out.size());
    if (index->dim() == 0 || from + index->dim() > self.dim() ||
        !index->sizes().equals(self.sizes().slice(from, index->dim()))) {
      return std::nullopt;
    }
    if (holds_shards(*index)) need_values(op.short_name, sharded(*index).layout()->mesh());
    if (watches_relayouts() && holds_shards(*index)) {
      const Layout layout = sharded(*index).layout();
      watch_relayout(op.short_name, *index, layout, TensorLayout::replicated(layout->mesh(), index->dim()));
    }
    at::Tensor chosen = at::nonzero(full_or_alias(*index));
    if (holds_shards(*index)) {  // self may be plain
      const Layout replicated = TensorLayout::replicated(sharded(*index).layout()->mesh(), 2);
      const Geometry geometry = geometry_of(chosen);
      chosen = make_sharded(std::move(chosen), replicated, geometry);
    }
    for (int64_t d = 0; d < index->dim(); ++d) out.push_back(chosen.select(1, d));
  }
  return out;
}

}  // namespace

void run_indexing(const OpInfo& op, std::vector<c10::IValue>& stack) {
  const size_t base = stack.size() - op.arguments.size();
  const at::Tensor self = stack[base].toTensor();
  c10::IValue& argument = stack[base + op.argument("indices")];
  const std::vector<Index> indices = indices_in(argument);
  int given = 0;
  int64_t from = -1;  // the mask
  for (size_t i = 0; i < indices.size(); ++i) {
    given += indices[i] && indices[i]->defined();
    if (is_mask(indices[i])) from = static_cast<int64_t>(i);
  }
  const int values = op.argument("values");
  const bool ruled = from < 0 || (values >= 0 && given == 1 && indices[from]->dim() > 0 &&
                                  same_for_all(stack[base + values].toTensor(), *indices[from], self.dim(), from));
  if (!ruled) {
    BelowAutograd guard;
    if (auto found = positions(op, self, indices)) argument = std::move(*found);
  }
  Handler(op, stack).run();
}

}  // namespace weft
