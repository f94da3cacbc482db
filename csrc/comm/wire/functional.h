#pragma once
// The collectives as a compiler records them: c10d's functional ops, each with a wait, over the axis's group by its
// name. They are those of comm/wire/collectives.h otherwise, on traced tensors (tensor/traced.h); nothing is sent,
// counted or compared while they are recorded. Those of parts without elements, which send nothing, are recorded too:
// other ranks of the program may have some.
#include <ATen/core/Tensor.h>
#include <weft/layout.h>

#include <vector>

#include "layout/shard.h"

namespace weft::comm::functional {

at::Tensor all_reduce(const at::Tensor& input, Reduction reduction, Mesh mesh, int axis);
at::Tensor all_gather(const at::Tensor& input, int64_t dim, const std::vector<int64_t>& sizes, Mesh mesh, int axis);
at::Tensor reduce_scatter(const at::Tensor& input, int64_t dim, const std::vector<int64_t>& sizes, Reduction reduction,
                          Mesh mesh, int axis);
at::Tensor all_to_all(const at::Tensor& input, int64_t split_dim, const std::vector<int64_t>& split_sizes,
                      int64_t concat_dim, const std::vector<int64_t>& concat_sizes, Mesh mesh, int axis);
std::vector<at::Tensor> exchange_rows(const at::Tensor& input, int64_t dim, const std::vector<IndexRange>& sent,
                                      const std::vector<int64_t>& received, Mesh mesh, int axis);
at::Tensor broadcast(const at::Tensor& input, int64_t root, Mesh mesh, int axis);

}  // namespace weft::comm::functional
