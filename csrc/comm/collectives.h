#pragma once
// The collectives that redistribution is made of, over one mesh axis, on plain tensors. All block in the sense that
// work issued afterwards (on the current stream) sees the result. An axis of size 1 costs nothing and calls nothing.
// Every call is counted and traced (debug/trace.h reads `observer`). What Gloo lacks is made up for here: uneven
// all-gathers are padded, dtypes that it cannot reduce go through a wider one, avg is sum and divide.
//
// `order` lists the dimensions from the outermost to the innermost in memory, the same on all ranks: data travels and
// arrives in that order, so a channels_last tensor or a transposed weight with its order given moves as cheaply as a
// contiguous one, and the result lies so. Empty: data travels row-major (a shard whose strides differ is copied first)
// and the result is dense in the stride order of `input`. The order is asked for, not read off the strides, because
// those say too little where a dimension has one element or none, and ranks could disagree.
#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <layout/shard.h>
#include <weft/layout.h>

#include <memory>
#include <string>
#include <vector>

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

/// As `reduce_scatter`, for several tensors of one dtype (each with its own dimension and lengths) in one collective
/// that is not waited for. `wait`, called once, returns this rank's parts one after the other, each row-major. The
/// inputs are copied before it returns.
struct ToScatter {
  at::Tensor input;
  int64_t dim;
  std::vector<int64_t> sizes;
};
struct PendingParts {
  virtual ~PendingParts() = default;
  virtual at::Tensor wait() = 0;
};
std::unique_ptr<PendingParts> reduce_scatter_coalesced(const std::vector<ToScatter>& tensors, Reduction reduction,
                                                       Mesh mesh, int axis);

/// Raises the same ValueError on all ranks where `words` (anything that must agree: shapes, dtypes, layouts) or the
/// mesh (null: none) differs between ranks; the message names `what`, the ranks that differ, and the meshes if it is
/// these. Costs one small collective of the world; the mesh is not bound before, as making its groups takes ranks that
/// agree about it.
void check_same(const std::vector<int64_t>& words, const std::string& what, Mesh mesh);
/// `check_same` of a mesh that all ranks make; costs nothing where it was compared before.
void check_mesh(Mesh mesh);
constexpr const char* kMeshMade = "the device mesh";  // what ranks compare there
/// Every rank's words, as many on each, by rank of the world. One small collective of the world, which binds no mesh.
std::vector<std::vector<int64_t>> gather_words(const std::vector<int64_t>& words);
/// All ranks in one line, whatever their meshes are, on a device that the world can send from.
Mesh world_mesh();
/// `check_same`, not waited for. It rides in the next all-reduce that takes riders (comm/riders.h) and raises when that
/// arrives; where another collective comes first, or `finish_checks`, it raises there.
void check_same_soon(const std::vector<int64_t>& words, const std::string& what, Mesh mesh);
/// Waits for those that have found no ride.
void finish_checks();

/// Told of each collective as it is issued.
struct Event {
  const char* kind;  // "all_reduce", "all_gather", ...
  Mesh mesh;
  int axis;
  int64_t bytes;     // that this rank sends, by the ring/pairwise formula: all-reduce 2(n-1)/n S, the others (n-1)/n S
  int64_t elements;  // that it is about, the same on all ranks in the line
  c10::ScalarType dtype;
  Reduction reduction = Reduction::none;
};
using Observer = void (*)(const Event&);
/// One observer per process (null: none). Set once by debug/trace.
void set_observer(Observer observer);

}  // namespace weft::comm
