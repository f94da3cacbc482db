#pragma once
// TensorLayout: how one tensor lies over a mesh.
#include <weft/mesh.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace weft {

/// How the parts that the ranks of one mesh axis hold combine to the value (a pending reduction).
/// `norm2` combines as sqrt(sum of squares): a 2-norm whose parts were computed per shard, none of them negative.
enum class Reduction : uint8_t { none, sum, avg, max, min, product, norm2 };

/// "sum"
WEFT_API const char* to_string(Reduction reduction);
/// Raises ValueError listing the known names.
WEFT_API Reduction reduction_from_string(const std::string& name);

/// One mesh axis splitting one tensor dimension into torch.chunk's chunks. With `block` > 0 the dimension (what is left
/// of it after the axes before this one) is seen as consecutive blocks of that many elements and *each block* is
/// chunked: a folded dimension whose minor part is split, e.g. [B, S/n, H] seen as [B*S, H] has block = S. Users write
/// block 0 (the whole dimension); views make the others.
struct Split {
  int axis = 0;
  int64_t block = 0;
  bool operator==(const Split& other) const { return axis == other.axis && block == other.block; }
};

/// What one mesh axis does to a tensor.
struct AxisState {
  enum Kind : uint8_t { replicated, split, partial } kind = replicated;
  int dim = -1;                           // split: the tensor dimension
  int64_t block = 0;                      // split: see Split
  Reduction reduction = Reduction::none;  // partial
};

/// Per tensor dimension the mesh axes that split it, major first; plus the reductions still pending over other axes.
/// Immutable and interned: equal layouts are the same pointer. An axis of size 1 never carries a pending reduction.
class WEFT_API TensorLayout {
 public:
  using Dims = std::vector<std::vector<Split>>;
  using Partial = std::array<Reduction, kMaxAxes>;

  /// The interned layout. Raises ValueError where an axis index is unknown, splits twice, or both splits and is
  /// pending.
  static const TensorLayout* get(Mesh mesh, Dims dims, Partial partial = {});
  /// The layout by names: axes[d] lists the axis names that split dimension d, major first.
  static const TensorLayout* from_names(Mesh mesh, const std::vector<std::vector<std::string>>& axes,
                                        const std::map<std::string, std::string>& partial = {});
  /// The layout of that id(). Raises ValueError where there is none.
  static const TensorLayout* from_id(int64_t id);
  /// No dimension split, nothing pending.
  static const TensorLayout* replicated(Mesh mesh, int64_t ndim);

  /// Its number in this process, by which languages whose objects are dear to pass name it.
  int64_t id() const { return id_; }
  Mesh mesh() const { return mesh_; }
  int64_t ndim() const { return static_cast<int64_t>(dims_.size()); }
  const Dims& dims() const { return dims_; }
  const std::vector<Split>& dim(int64_t d) const { return dims_[d]; }
  const Partial& partial() const { return partial_; }
  const AxisState& state(int axis) const { return states_[axis]; }
  bool has_partial() const { return has_partial_; }
  /// Every rank holds the full value.
  bool is_replicated() const { return is_replicated_; }
  /// The same splits with nothing pending (the pending axes become replicated).
  const TensorLayout* without_partial() const { return without_partial_; }
  /// "(model, None)", "(('data', 'model'), None)", "(None,) partial{data: sum}"
  std::string str() const;
  /// str() and the mesh: "(model, None) on mesh (data=2, model=4)"
  std::string describe() const;
  /// The same for equal layouts in every process.
  uint64_t hash() const { return hash_; }

 private:
  TensorLayout() = default;
  int64_t id_ = -1;
  uint64_t hash_ = 0;
  Mesh mesh_ = nullptr;
  Dims dims_;
  Partial partial_{};
  std::array<AxisState, kMaxAxes> states_{};
  bool has_partial_ = false;
  bool is_replicated_ = true;
  const TensorLayout* without_partial_ = nullptr;
};

/// Equal layouts are the same pointer.
using Layout = const TensorLayout*;

}  // namespace weft
