#pragma once
// The collectives that redistribution is made of, over one mesh axis, on plain tensors. All block in the sense that
// work issued afterwards (on the current stream) sees the result. An axis of size 1 costs nothing and calls nothing.
// Every call is counted and traced (comm/lockstep/event.h). What Gloo lacks is made up for here: uneven
// all-gathers are padded, dtypes that it cannot reduce go through a wider one, avg is sum and divide.
//
// `order` lists the dimensions from the outermost to the innermost in memory, the same on all ranks: data travels and
// arrives in that order, so a channels_last tensor or a transposed weight with its order given moves as cheaply as a
// contiguous one, and the result lies so. Empty: data travels row-major (a shard whose strides differ is copied first)
// and the result is dense in the stride order of `input`. The order is asked for, not read off the strides, because
// those say too little where a dimension has one element or none, and ranks could disagree.
#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <weft/layout.h>

#include <memory>
#include <string>
#include <vector>

#include "layout/shard.h"

namespace weft::comm {

/// The result of all ranks' tensors reduced elementwise. `input` is not changed and may be returned where the axis has
/// size 1. Shape and dtype as input. `norm2` reduces as sqrt(sum of squares), `avg` as sum / size.
at::Tensor all_reduce(const at::Tensor& input, Reduction reduction, Mesh mesh, int axis, c10::IntArrayRef order = {});

/// Concatenation along `dim` of the ranks' tensors in order of their coordinate; sizes[i] is rank i's length there.
at::Tensor all_gather(const at::Tensor& input, int64_t dim, const std::vector<int64_t>& sizes, Mesh mesh, int axis,
                      c10::IntArrayRef order = {});

/// Reduces, and keeps of `dim` only this rank's part; sizes[i] is rank i's length there (their sum is input's).
at::Tensor reduce_scatter(const at::Tensor& input, int64_t dim, const std::vector<int64_t>& sizes, Reduction reduction,
                          Mesh mesh, int axis, c10::IntArrayRef order = {});

/// Cuts `input` along `split_dim` (split_sizes[i] goes to rank i) and concatenates what arrives along `concat_dim`
/// (concat_sizes[i] is rank i's length there): a split moves from concat_dim to split_dim, which is another dimension.
at::Tensor all_to_all(const at::Tensor& input, int64_t split_dim, const std::vector<int64_t>& split_sizes,
                      int64_t concat_dim, const std::vector<int64_t>& concat_sizes, Mesh mesh, int axis,
                      c10::IntArrayRef order = {});

/// Sends rows sent[r] along `dim` of `input` to rank r and returns what arrives, a tensor of received[r] rows from each
/// rank r: halos. Ranks that send nothing take part too; `input` has the same sizes everywhere but along `dim`.
std::vector<at::Tensor> exchange_rows(const at::Tensor& input, int64_t dim, const std::vector<IndexRange>& sent,
                                      const std::vector<int64_t>& received, Mesh mesh, int axis);

/// The tensor of the rank at coordinate `root`, on all ranks of the axis (all pass one of the same shape and dtype).
at::Tensor broadcast(const at::Tensor& input, int64_t root, Mesh mesh, int axis);

/// Sums several contiguous tensors of one dtype in one collective, not waited for: call `wait` on the result before the
/// tensors (changed in place) are read.
struct Pending {
  virtual ~Pending() = default;
  virtual void wait() = 0;
};
std::unique_ptr<Pending> all_reduce_coalesced_(std::vector<at::Tensor> tensors, Reduction reduction, Mesh mesh,
                                               int axis);

/// A tensor that is cut along `dim`, or is one part of such a tensor; sizes[i] is rank i's length there.
struct Divided {
  at::Tensor input;
  int64_t dim;
  std::vector<int64_t> sizes;
};

/// Does what `reduce_scatter` does, for several tensors of one dtype (each with its own dimension and lengths) in one
/// collective that is not waited for. `wait`, called once, returns this rank's parts one after the other, each
/// row-major. The inputs are copied before it returns.
struct PendingParts {
  virtual ~PendingParts() = default;
  virtual at::Tensor wait() = 0;
};
std::unique_ptr<PendingParts> reduce_scatter_coalesced(const std::vector<Divided>& tensors, Reduction reduction,
                                                       Mesh mesh, int axis);

}  // namespace weft::comm
