#pragma once
// DeviceMesh: an n-dimensional grid of ranks with named axes.
#include <weft/export.h>

#include <cstdint>
#include <string>
#include <vector>

namespace weft {

/// Axes that a mesh has at most.
constexpr int kMaxAxes = 8;

/// An n-D grid of process ranks, row-major, whose axes have names. Immutable and interned: two meshes with equal shape,
/// names, ranks and device type are the same pointer, so a mesh compares and hashes as a pointer. Nothing in it depends
/// on the rank that looks at it; that lives in the context (mesh/context.h).
class WEFT_API DeviceMesh {
 public:
  /// The interned mesh.
  /// @param shape       ranks along each axis, each >= 1; 1 to kMaxAxes of them
  /// @param axis_names  one name per axis, all different: 1 to 128 bytes of UTF-8 without control characters
  /// @param ranks       the global ranks in row-major order; empty: 0, 1, ..., product(shape) - 1
  /// @param device_type "cpu" or "cuda"
  /// Every rank makes the same meshes: that it has is compared where the mesh is first used.
  /// Raises ValueError (c10::ValueError) where the sizes disagree, a name is none or a name or a rank is repeated, or
  /// a size is < 1.
  static const DeviceMesh* get(std::vector<int64_t> shape, std::vector<std::string> axis_names,
                               std::vector<int64_t> ranks = {}, std::string device_type = "cpu");

  /// A mesh without processes, as the given one of its ranks sees it: what is laid out over it has its shape, and no
  /// memory; ops on it are planned and counted as they would run, and its collectives send nothing. Another one than
  /// the real mesh of that shape; a process may have many. Raises ValueError as `get`, and where there is no such rank.
  static const DeviceMesh* simulate(std::vector<int64_t> shape, std::vector<std::string> axis_names, int64_t rank,
                                    std::string device_type = "cpu");

  int ndim() const { return static_cast<int>(shape_.size()); }
  int64_t size() const { return static_cast<int64_t>(ranks_.size()); }
  const std::vector<int64_t>& shape() const { return shape_; }
  const std::vector<std::string>& axis_names() const { return axis_names_; }
  const std::vector<int64_t>& ranks() const { return ranks_; }
  const std::string& device_type() const { return device_type_; }
  int64_t axis_size(int axis) const { return shape_[axis]; }
  const std::string& axis_name(int axis) const { return axis_names_[axis]; }
  bool is_simulated() const { return simulated_rank_ >= 0; }
  /// Whose part of a simulated mesh this is; -1: of a real one.
  int64_t simulated_rank() const { return simulated_rank_; }
  /// Index of the axis with that name. Raises ValueError naming the mesh's axes where there is none.
  int axis(const std::string& name) const;
  /// Coordinates of a global rank along each axis; empty where the rank is not in the mesh.
  std::vector<int64_t> coordinates_of(int64_t rank) const;
  /// "mesh (data=2, model=4)"
  std::string str() const;
  /// A hash of all of the above: the same for equal meshes in every process.
  uint64_t hash() const { return hash_; }

 private:
  DeviceMesh() = default;
  static const DeviceMesh* intern(std::vector<int64_t> shape, std::vector<std::string> axis_names,
                                  std::vector<int64_t> ranks, std::string device_type, int64_t simulated_rank);
  uint64_t hash_ = 0;
  int64_t simulated_rank_ = -1;
  std::vector<int64_t> shape_;
  std::vector<std::string> axis_names_;
  std::vector<int64_t> ranks_;
  std::string device_type_;
};

/// Equal meshes are the same pointer.
using Mesh = const DeviceMesh*;

}  // namespace weft
