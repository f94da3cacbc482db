// The collectives over c10d's process groups.
#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>

#include "comm/lockstep/event.h"
#include "comm/wire/axis.h"
#include "comm/wire/collectives.h"
#include "comm/wire/functional.h"
#include "comm/wire/pack.h"
#include "comm/wire/reduction.h"
#include "tensor/traced.h"

namespace weft::comm {
namespace {

// The coordinates whose pieces lie one after the other in a buffer ordered by rank in the group; empty: as they come.
std::vector<int64_t> sequence_of(const Axis& line) {
  return line.ordered() ? std::vector<int64_t>{} : line.by_group_rank();
}

int64_t sum(const std::vector<int64_t>& values) { return std::accumulate(values.begin(), values.end(), int64_t{0}); }
int64_t max(const std::vector<int64_t>& values) { return *std::max_element(values.begin(), values.end()); }

int64_t bytes_of(const at::Tensor& tensor) { return tensor.numel() * static_cast<int64_t>(tensor.element_size()); }

void check_lengths(const at::Tensor& input, int64_t dim, const std::vector<int64_t>& lengths, int64_t expected,
                   Mesh mesh, int axis) {
  TORCH_INTERNAL_ASSERT(static_cast<int64_t>(lengths.size()) == mesh->axis_size(axis), lengths.size(),
                        " lengths for axis '", mesh->axis_name(axis), "' of ", mesh->str());
  TORCH_INTERNAL_ASSERT(input.size(dim) == expected, "dimension ", dim, " of a shard has ", input.size(dim),
                        " elements, but the lengths say ", expected);
}

// Every rank's input: [ranks, numel].
at::Tensor gather_parts(const Axis& line, const at::Tensor& input) {
  at::Tensor parts = at::empty({line.size, input.numel()}, input.options());
  gather_flat(line, parts.view({-1}), plain_contiguous(input).view({-1}));
  return by_coordinate(line, parts);
}

// Each rank's pieces to their owners, reduced there: what reduce-scatter is, but by all-to-all, and with any reduction.
at::Tensor reduce_scatter_by_exchange(const Axis& line, const at::Tensor& input, int64_t dim,
                                      const std::vector<int64_t>& sizes, Reduction reduction) {
  const int64_t row = row_elements(input.sizes(), dim);
  const std::vector<int64_t> sequence = sequence_of(line);
  const int64_t mine = sizes[line.coordinate] * row;
  std::vector<int64_t> input_splits(line.size);
  for (int64_t c = 0; c < line.size; ++c) input_splits[line.group_rank(c)] = sizes[c] * row;
  at::Tensor parts = at::empty({line.size, mine}, input.options());
  exchange_flat(line, parts.view({-1}), pack(input, dim, sizes, sequence), std::vector<int64_t>(line.size, mine),
                std::move(input_splits));
  return reduce_locally(by_coordinate(line, parts), reduction);
}

at::Tensor reduce_scatter_by_backend(const Axis& line, const at::Tensor& input, int64_t dim,
                                     const std::vector<int64_t>& sizes, Reduction reduction) {
  const int64_t row = row_elements(input.sizes(), dim);
  const std::vector<int64_t> sequence = sequence_of(line);
  const int64_t padded = max(sizes) * row;
  // Padding is reduced too and then dropped.
  at::Tensor packed = lower(pack(input, dim, sizes, sequence, padded), reduction);
  Sizes shape(packed.sizes().begin(), packed.sizes().end());
  shape[0] /= line.size;
  at::Tensor part = at::empty(shape, packed.options());
  reduce_scatter_flat(line, part, packed, reduce_op(input.scalar_type(), reduction));
  return lift(part, input.scalar_type(), reduction, line.size).narrow(0, 0, sizes[line.coordinate] * row);
}

}  // namespace

at::Tensor all_reduce(const at::Tensor& input, Reduction reduction, Mesh mesh, int axis, c10::IntArrayRef order) {
  const int64_t n = mesh->axis_size(axis);
  if (n == 1) return input;
  check_reduction(input.scalar_type(), reduction);
  if (is_traced(input)) return functional::all_reduce(input, reduction, mesh, axis);
  const Event event{"all_reduce",        mesh,     axis, 2 * (n - 1) * bytes_of(input) / n, input.numel(),
                    input.scalar_type(), reduction};
  return collective(event, [&] {
    const Wire wire(input, order);
    if (input.numel() == 0) return wire.result(wire.tensor().clone(at::MemoryFormat::Contiguous));
    const Axis line(mesh, axis);
    const at::Tensor part = plain_contiguous(wire.tensor());
    const c10::ScalarType dtype = input.scalar_type();
    if (!has_lowering(dtype, reduction) || reduces_by_gather(line, part.device().type(), bytes_of(part))) {
      return wire.result(reduce_locally(gather_parts(line, part), reduction).view(part.sizes()));
    }
    at::Tensor lowered = lower(part, reduction);
    if (lowered.is_alias_of(input)) lowered = lowered.clone();
    all_reduce_flat(line, lowered, reduce_op(dtype, reduction));
    return wire.result(lift(lowered, dtype, reduction, n));
  });
}

at::Tensor all_gather(const at::Tensor& input, int64_t dim, const std::vector<int64_t>& sizes, Mesh mesh, int axis,
                      c10::IntArrayRef order) {
  const int64_t n = mesh->axis_size(axis);
  if (n == 1) return input;
  const int64_t coordinate = context().bind(mesh).coordinates[axis];
  check_lengths(input, dim, sizes, sizes.at(coordinate), mesh, axis);
  if (is_traced(input)) return functional::all_gather(input, dim, sizes, mesh, axis);
  const int64_t row = row_elements(input.sizes(), dim), elements = sum(sizes) * row;
  const Event event{"all_gather", mesh,
                    axis,         (n - 1) * elements * static_cast<int64_t>(input.element_size()) / n,
                    elements,     input.scalar_type()};
  return collective(event, [&] {
    const Wire wire(input, order);
    const at::Tensor& shard = wire.tensor();
    const int64_t wire_dim = wire.dim(dim);
    // Every piece takes the room of the longest one: backends gather equal lengths only.
    const int64_t piece = max(sizes) * row;
    at::Tensor flat = at::empty({n * piece}, input.options());
    std::vector<int64_t> offsets(n, 0);
    if (piece > 0) {
      const Axis line(mesh, axis);
      for (int64_t c = 0; c < n; ++c) offsets[c] = line.group_rank(c) * piece;
      gather_flat(line, flat, pack(shard, wire_dim, {shard.size(wire_dim)}, {}, piece));
    }
    return unpack(wire, flat, shard.sizes(), wire_dim, sizes, offsets);
  });
}

at::Tensor reduce_scatter(const at::Tensor& input, int64_t dim, const std::vector<int64_t>& sizes, Reduction reduction,
                          Mesh mesh, int axis, c10::IntArrayRef order) {
  const int64_t n = mesh->axis_size(axis);
  if (n == 1) return input;
  check_reduction(input.scalar_type(), reduction);
  check_lengths(input, dim, sizes, sum(sizes), mesh, axis);
  if (is_traced(input)) return functional::reduce_scatter(input, dim, sizes, reduction, mesh, axis);
  const Event event{"reduce_scatter",    mesh,     axis, (n - 1) * bytes_of(input) / n, input.numel(),
                    input.scalar_type(), reduction};
  return collective(event, [&] {
    const Wire wire(input, order);
    const at::Tensor& full = wire.tensor();
    const int64_t wire_dim = wire.dim(dim);
    const Axis line(mesh, axis);
    Sizes shape(full.sizes().begin(), full.sizes().end());
    shape[wire_dim] = sizes[line.coordinate];
    if (input.numel() == 0) return wire.result(at::empty(shape, input.options()));
    // Gloo's own reduce-scatter is slower than an exchange and a local reduction, and takes no uneven parts.
    const bool exchange =
        uses_gloo(line, input.device().type()) || !has_lowering(input.scalar_type(), reduction) || !line.rising;
    const at::Tensor part = exchange ? reduce_scatter_by_exchange(line, full, wire_dim, sizes, reduction)
                                     : reduce_scatter_by_backend(line, full, wire_dim, sizes, reduction);
    return wire.result(part.view(shape));
  });
}

at::Tensor all_to_all(const at::Tensor& input, int64_t split_dim, const std::vector<int64_t>& split_sizes,
                      int64_t concat_dim, const std::vector<int64_t>& concat_sizes, Mesh mesh, int axis,
                      c10::IntArrayRef order) {
  const int64_t n = mesh->axis_size(axis);
  if (n == 1) return input;
  TORCH_INTERNAL_ASSERT(split_dim != concat_dim, "an all-to-all from dimension ", split_dim, " to itself");
  if (is_traced(input)) {
    return functional::all_to_all(input, split_dim, split_sizes, concat_dim, concat_sizes, mesh, axis);
  }
  const Axis line(mesh, axis);
  check_lengths(input, split_dim, split_sizes, sum(split_sizes), mesh, axis);
  check_lengths(input, concat_dim, concat_sizes, concat_sizes.at(line.coordinate), mesh, axis);
  Sizes others(input.sizes().begin(), input.sizes().end());
  others[split_dim] = others[concat_dim] = 1;
  const int64_t elements = product(others) * sum(split_sizes) * sum(concat_sizes);
  const Event event{"all_to_all", mesh, axis, (n - 1) * bytes_of(input) / n, elements, input.scalar_type()};
  return collective(event, [&] {
    const Wire wire(input, order);
    const at::Tensor& shard = wire.tensor();
    const int64_t from = wire.dim(split_dim), to = wire.dim(concat_dim);
    Sizes piece(shard.sizes().begin(), shard.sizes().end());
    piece[from] = split_sizes[line.coordinate];
    piece[to] = 1;
    const int64_t arriving_row = product(piece), leaving_row = row_elements(shard.sizes(), from);
    std::vector<int64_t> input_splits(n), output_splits(n), offsets(n);
    for (int64_t c = 0; c < n; ++c) {
      input_splits[line.group_rank(c)] = split_sizes[c] * leaving_row;
      output_splits[line.group_rank(c)] = concat_sizes[c] * arriving_row;
    }
    std::vector<int64_t> starts(n);
    std::exclusive_scan(output_splits.begin(), output_splits.end(), starts.begin(), int64_t{0});
    for (int64_t c = 0; c < n; ++c) offsets[c] = starts[line.group_rank(c)];
    at::Tensor flat = at::empty({sum(output_splits)}, input.options());
    // Whether anything moves at all is read from what every rank knows; some ranks may send or get nothing.
    if (elements > 0) {
      const std::vector<int64_t> sequence = sequence_of(line);
      exchange_flat(line, flat, pack(shard, from, split_sizes, sequence), output_splits, input_splits);
    }
    return unpack(wire, flat, piece, to, concat_sizes, offsets);
  });
}

at::Tensor broadcast(const at::Tensor& input, int64_t root, Mesh mesh, int axis) {
  const int64_t n = mesh->axis_size(axis);
  if (n == 1) return input;
  TORCH_CHECK_VALUE(root >= 0 && root < n, "[W037] broadcast from coordinate ", root, " of axis '",
                    mesh->axis_name(axis), "', which has ", n, " ranks");
  if (is_traced(input)) return functional::broadcast(input, root, mesh, axis);
  const Event event{"broadcast", mesh, axis, (n - 1) * bytes_of(input) / n, input.numel(), input.scalar_type()};
  return collective(event, [&] {
    const Wire wire(input, {});
    const Axis line(mesh, axis);
    at::Tensor tensor = at::empty(input.sizes(), input.options().memory_format(at::MemoryFormat::Contiguous));
    if (line.coordinate == root) tensor.copy_(input);
    if (input.numel() > 0) broadcast_flat(line, tensor, line.group_rank(root));
    return wire.result(tensor);
  });
}

}  // namespace weft::comm
