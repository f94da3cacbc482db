#include "comm/wire/functional.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>

#include "comm/wire/axis.h"
#include "comm/wire/recorded_group.h"
#include "comm/wire/reduction.h"
#include "mesh/context.h"

namespace weft::comm::functional {
namespace {

using Lengths = std::vector<int64_t>;

// An axis as its recorded group has it, whose ranks are numbered by their coordinates.
struct NamedLine {
  NamedLine(Mesh mesh, int axis) : size(mesh->axis_size(axis)) {
    TORCH_CHECK_NOT_IMPLEMENTED(!mesh->is_simulated(),
                                "[W067] programs over a simulated mesh are not compiled: ", mesh->str(),
                                " has no processes; leave torch.compile off there");
    coordinate = context().bind(mesh).coordinates[axis];
    group = recorded_group(mesh, axis);
  }

  const int64_t size;
  int64_t coordinate;
  std::string group;
};

template <class... Arguments>
at::Tensor call(const char* name, Arguments&&... arguments) {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name, "");
  std::vector<c10::IValue> stack{c10::IValue(std::forward<Arguments>(arguments))...};
  op.callBoxed(&stack);
  return stack[0].toTensor();
}

at::Tensor waited(const at::Tensor& begun) { return call("_c10d_functional::wait_tensor", begun); }

// Backends know only a few dtypes, but bits are bits.
at::Tensor as_moved(const at::Tensor& tensor) {
  if (tensor.is_complex()) return at::view_as_real(tensor.resolve_conj());
  if (moves_as_is(tensor.scalar_type())) return tensor;
  for (at::ScalarType dtype : {at::kByte, at::kHalf, at::kInt, at::kLong}) {
    if (c10::elementSize(dtype) == static_cast<size_t>(tensor.element_size())) return tensor.view(dtype);
  }
  TORCH_CHECK_NOT_IMPLEMENTED(false, "[W067] a tensor of ", tensor.scalar_type(),
                              " does not move in compiled programs");
}
at::Tensor as_it_was(const at::Tensor& moved, at::ScalarType dtype) {
  if (moved.scalar_type() == dtype) return moved;
  return c10::isComplexType(dtype) ? at::view_as_complex(moved) : moved.view(dtype);
}

int64_t longest(const Lengths& lengths) { return *std::max_element(lengths.begin(), lengths.end()); }
Lengths starts_of(const Lengths& lengths) {
  Lengths starts(lengths.size());
  std::exclusive_scan(lengths.begin(), lengths.end(), starts.begin(), int64_t{0});
  return starts;
}
bool are_even(const Lengths& lengths) {
  return std::all_of(lengths.begin(), lengths.end(), [&](int64_t n) { return n == lengths[0]; });
}

// Rows, filled up to as many as the longest has: backends move equal lengths only.
at::Tensor padded(const at::Tensor& rows, int64_t length) {
  if (rows.size(0) == length) return rows;
  std::vector<int64_t> pad(2 * rows.dim(), 0);
  pad.back() = length - rows.size(0);
  return at::constant_pad_nd(rows, pad);
}

// Every rank's rows, one below the other in order of the coordinates.
at::Tensor gathered(const NamedLine& line, const at::Tensor& rows) {
  const at::Tensor moved = as_moved(rows.contiguous());
  return as_it_was(waited(call("_c10d_functional::all_gather_into_tensor", moved, line.size, line.group)),
                   rows.scalar_type());
}

at::Tensor exchanged(const NamedLine& line, const at::Tensor& flat, const Lengths& arriving, const Lengths& leaving) {
  at::Tensor moved = as_moved(flat);
  const int64_t width = moved.numel() == flat.numel() ? 1 : moved.numel() / flat.numel();
  Lengths out = arriving, in = leaving;
  for (int64_t& n : out) n *= width;
  for (int64_t& n : in) n *= width;
  moved = waited(call("_c10d_functional::all_to_all_single", moved.reshape({-1}), out, in, line.group));
  if (width != 1) moved = moved.view({-1, width});
  return as_it_was(moved, flat.scalar_type());
}

at::Tensor parts_of_all(const NamedLine& line, const at::Tensor& input) {
  Sizes sizes(input.sizes().begin(), input.sizes().end());
  sizes.insert(sizes.begin(), line.size);
  return gathered(line, input.contiguous().view({1, input.numel()})).view(sizes);
}

}  // namespace

at::Tensor all_reduce(const at::Tensor& input, Reduction reduction, Mesh mesh, int axis) {
  const NamedLine line(mesh, axis);
  const c10::ScalarType dtype = input.scalar_type();
  if (!has_lowering(dtype, reduction)) return reduce_locally(parts_of_all(line, input), reduction);
  const at::Tensor lowered = lower(input.contiguous().resolve_conj(), reduction);
  const std::string op = name_of(reduce_op(dtype, reduction));
  return lift(waited(call("_c10d_functional::all_reduce", lowered, op, line.group)), dtype, reduction, line.size);
}

at::Tensor all_gather(const at::Tensor& input, int64_t dim, const Lengths& sizes, Mesh mesh, int axis) {
  const NamedLine line(mesh, axis);
  const int64_t rows = longest(sizes);
  const at::Tensor all = gathered(line, padded(input.movedim(dim, 0), rows));
  if (are_even(sizes)) return all.movedim(0, dim);
  std::vector<at::Tensor> pieces;
  for (int64_t c = 0; c < line.size; ++c) pieces.push_back(all.narrow(0, c * rows, sizes[c]));
  return at::cat(pieces).movedim(0, dim);
}

at::Tensor reduce_scatter(const at::Tensor& input, int64_t dim, const Lengths& sizes, Reduction reduction, Mesh mesh,
                          int axis) {
  const NamedLine line(mesh, axis);
  const c10::ScalarType dtype = input.scalar_type();
  const Lengths starts = starts_of(sizes);
  const int64_t mine = sizes[line.coordinate];
  if (!has_lowering(dtype, reduction)) {
    return reduce_locally(parts_of_all(line, input), reduction).narrow(dim, starts[line.coordinate], mine);
  }
  at::Tensor rows = input.movedim(dim, 0);
  if (!are_even(sizes)) {
    std::vector<at::Tensor> pieces;
    for (int64_t c = 0; c < line.size; ++c)
      pieces.push_back(padded(rows.narrow(0, starts[c], sizes[c]), longest(sizes)));
    rows = at::cat(pieces);
  }
  const at::Tensor lowered = lower(rows.contiguous().resolve_conj(), reduction);
  const std::string op = name_of(reduce_op(dtype, reduction));
  const at::Tensor part = waited(call("_c10d_functional::reduce_scatter_tensor", lowered, op, line.size, line.group));
  return lift(part, dtype, reduction, line.size).narrow(0, 0, mine).movedim(0, dim);
}

at::Tensor all_to_all(const at::Tensor& input, int64_t split_dim, const Lengths& split_sizes, int64_t concat_dim,
                      const Lengths& concat_sizes, Mesh mesh, int axis) {
  const NamedLine line(mesh, axis);
  const Lengths starts = starts_of(split_sizes);
  Sizes piece(input.sizes().begin(), input.sizes().end());
  piece[split_dim] = split_sizes[line.coordinate];
  piece[concat_dim] = 1;
  const int64_t row = std::accumulate(piece.begin(), piece.end(), int64_t{1}, std::multiplies<>());
  Lengths leaving(line.size), arriving(line.size);
  std::vector<at::Tensor> sent;
  for (int64_t c = 0; c < line.size; ++c) {
    sent.push_back(input.narrow(split_dim, starts[c], split_sizes[c]).reshape({-1}));
    leaving[c] = sent.back().numel();
    arriving[c] = concat_sizes[c] * row;
  }
  const at::Tensor flat = exchanged(line, at::cat(sent), arriving, leaving);
  const Lengths offsets = starts_of(arriving);
  std::vector<at::Tensor> pieces;
  for (int64_t c = 0; c < line.size; ++c) {
    piece[concat_dim] = concat_sizes[c];
    pieces.push_back(flat.narrow(0, offsets[c], concat_sizes[c] * row).view(piece));
  }
  return at::cat(pieces, concat_dim);
}

std::vector<at::Tensor> exchange_rows(const at::Tensor& input, int64_t dim, const std::vector<IndexRange>& sent,
                                      const Lengths& received, Mesh mesh, int axis) {
  const NamedLine line(mesh, axis);
  Sizes sizes(input.sizes().begin(), input.sizes().end());
  sizes[dim] = 1;
  const int64_t row = std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
  Lengths leaving(line.size), arriving(line.size);
  std::vector<at::Tensor> rows;
  for (int64_t c = 0; c < line.size; ++c) {
    rows.push_back(input.narrow(dim, sent[c].start, sent[c].length).reshape({-1}));
    leaving[c] = rows.back().numel();
    arriving[c] = received[c] * row;
  }
  const at::Tensor flat = exchanged(line, at::cat(rows), arriving, leaving);
  const Lengths offsets = starts_of(arriving);
  std::vector<at::Tensor> out(line.size);
  for (int64_t c = 0; c < line.size; ++c) {
    sizes[dim] = received[c];
    out[c] = flat.narrow(0, offsets[c], received[c] * row).view(sizes);
  }
  return out;
}

at::Tensor broadcast(const at::Tensor& input, int64_t root, Mesh mesh, int axis) {
  const NamedLine line(mesh, axis);
  const at::Tensor moved = as_moved(input.contiguous());
  const at::Tensor value = waited(call("_c10d_functional::broadcast", moved, root, line.group));
  return as_it_was(value, input.scalar_type());
}

}  // namespace weft::comm::functional
