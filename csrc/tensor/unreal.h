#pragma once
// Tensors as a simulated mesh has them: of a shape, without values.
#include <ATen/core/Tensor.h>
#include <weft/mesh.h>

#include <string>

namespace weft {

/// The options of a plain tensor or shard on that mesh.
inline at::TensorOptions options_on(Mesh mesh, const at::TensorOptions& options) {
  return mesh->is_simulated() ? options.device(at::kMeta) : options;
}

/// While it lives what this thread makes on the meta device is for planning, not part of the program.
class ForPlanning {
 public:
  ForPlanning() { ++depth_; }
  ~ForPlanning() { --depth_; }
  ForPlanning(const ForPlanning&) = delete;
  ForPlanning& operator=(const ForPlanning&) = delete;
  static bool holds() { return depth_ > 0; }

 private:
  static inline thread_local constinit int depth_ = 0;
};

/// The plain tensor as it can be laid out over that mesh: itself, over a simulated one a meta tensor of its geometry.
at::Tensor plain_on(Mesh mesh, const at::Tensor& tensor);

/// Raises NotImplementedError where the mesh is simulated: the op needs values.
void need_values(const std::string& op, Mesh mesh);

}  // namespace weft
