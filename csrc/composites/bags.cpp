// Bags of rows of a table whose rows are split: the rows that are asked for are brought to all ranks, and the op runs
// on a table of these alone.
#include <ATen/Functions.h>

#include "composites/arguments.h"
#include "composites/composites.h"
#include "redistribute/tensors.h"
#include "tensor/sharded.h"
#include "tensor/unreal.h"

namespace weft::rules {
namespace {

/// Puts the rows that are asked for in the table's place, and indices into these in the indices'; gives which they are.
at::Tensor take_rows(const c10::OperatorHandle& op, CompositeStack& stack, size_t table, size_t indices,
                     size_t padding) {
  const size_t base = stack.size() - op.schema().arguments().size();
  c10::IValue &from = stack[base + table], &which = stack[base + indices], &left_out = stack[base + padding];
  const at::Tensor asked = full_or_alias(which.toTensor());
  const Mesh mesh = sharded(from.toTensor()).layout()->mesh();
  if (mesh->is_simulated()) {  // without values: all that are asked for are different
    const at::Tensor rows = plain_on(mesh, asked).flatten();
    from = at::embedding(from.toTensor(), rows);
    return rows;
  }
  // A row that is left out is brought too: where one is, core's kernel reads include_last_offset otherwise.
  const int64_t padding_row = left_out.toInt();
  at::Tensor wanted = asked.flatten();
  if (padding_row >= 0) wanted = at::cat({wanted, at::full({1}, padding_row, wanted.options())});
  auto [rows, places] = at::_unique(wanted, /*sorted=*/true, /*return_inverse=*/true);
  if (padding_row >= 0) left_out = places[-1].item<int64_t>();
  if (rows.numel() == 0) rows = at::zeros({1}, rows.options());  // core wants a table
  which = places.narrow(0, 0, asked.numel()).view_as(asked).to(asked.scalar_type());
  from = at::embedding(from.toTensor(), rows);
  return rows;
}

}  // namespace

// _embedding_bag (weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset,
// padding_idx)
void run_embedding_bag(const c10::OperatorHandle& op, CompositeStack& stack) {
  constexpr int64_t kMax = 2;
  const int64_t mode = Arguments(op, stack)[4].toInt();
  const at::Tensor rows = take_rows(op, stack, 0, 1, 8);
  op.callBoxed(&stack);
  if (mode != kMax) return;
  const at::Tensor places = full_or_alias(stack.back().toTensor());  // of maxima, in the table
  const at::Tensor of_whole = rows.to(places.scalar_type()).index_select(0, places.clamp_min(0).flatten());
  stack.back() = at::where(places.lt(0), places, of_whole.view_as(places));
}

// _embedding_bag_per_sample_weights_backward (grad, weight, indices, offsets, offset2bag, mode, padding_idx)
void run_embedding_bag_per_sample_weights_backward(const c10::OperatorHandle& op, CompositeStack& stack) {
  take_rows(op, stack, 1, 2, 6);
  op.callBoxed(&stack);
}

}  // namespace weft::rules
