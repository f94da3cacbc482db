// Slices of one dimension between the ranks of an axis.
#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <numeric>

#include "comm/lockstep/event.h"
#include "comm/wire/axis.h"
#include "comm/wire/collectives.h"
#include "comm/wire/functional.h"
#include "comm/wire/pack.h"
#include "comm/wire/plan_copy.h"
#include "tensor/traced.h"

namespace weft::comm {

std::vector<at::Tensor> exchange_rows(const at::Tensor& input, int64_t dim, const std::vector<IndexRange>& sent,
                                      const std::vector<int64_t>& received, Mesh mesh, int axis) {
  const int64_t n = mesh->axis_size(axis);
  TORCH_INTERNAL_ASSERT(static_cast<int64_t>(sent.size()) == n && static_cast<int64_t>(received.size()) == n);
  if (is_traced(input)) return functional::exchange_rows(input, dim, sent, received, mesh, axis);
  const int64_t row = row_elements(input.sizes(), dim);
  int64_t leaving = 0;
  for (const IndexRange& s : sent) leaving += s.length;
  const Event event{"all_to_all",       mesh, axis, leaving * row * static_cast<int64_t>(input.element_size()), row,
                    input.scalar_type()};
  return collective(event, [&] {
    const Axis line(mesh, axis);
    Sizes sizes(input.sizes().begin(), input.sizes().end());
    std::vector<int64_t> input_splits(n), output_splits(n);
    at::Tensor packed = at::empty({leaving * row}, input.options());
    int64_t offset = 0;
    for (int64_t g = 0; g < n; ++g) {
      const int64_t c = line.ordered() ? g : line.by_group_rank()[g];
      input_splits[g] = sent[c].length * row;
      output_splits[g] = received[c] * row;
      if (input_splits[g] == 0) continue;
      sizes[dim] = sent[c].length;
      copy_strided(packed.narrow(0, offset, input_splits[g]).view(sizes),
                   input.narrow(dim, sent[c].start, sent[c].length));
      offset += input_splits[g];
    }
    at::Tensor flat =
        at::empty({std::accumulate(output_splits.begin(), output_splits.end(), int64_t{0})}, input.options());
    if (row > 0) exchange_flat(line, flat, packed, output_splits, input_splits);
    std::vector<int64_t> starts(n);
    std::exclusive_scan(output_splits.begin(), output_splits.end(), starts.begin(), int64_t{0});
    std::vector<at::Tensor> out(n);
    for (int64_t c = 0; c < n; ++c) {
      const int64_t g = line.group_rank(c);
      sizes[dim] = received[c];
      out[c] = flat.narrow(0, starts[g], output_splits[g]).view(sizes);
    }
    return out;
  });
}

}  // namespace weft::comm
