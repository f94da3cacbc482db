#pragma once
// The memory that a save in the background copies to. It is kept with the save's handle for the next one: new memory
// costs several times what the copy does.
#include <ATen/core/Tensor.h>

#include <vector>

namespace weft::checkpoint {

class SnapshotMemory {
 public:
  /// What is copied from now on takes the place of what was before.
  void restart() { next_ = 0; }
  /// A row-major copy in host memory, good until the next start.
  at::Tensor copy(const at::Tensor& tensor);
  /// Memory that nothing was copied to since the start.
  void release_rest() { kept_.resize(next_); }

 private:
  std::vector<at::Tensor> kept_;  // bytes
  size_t next_ = 0;
};

}  // namespace weft::checkpoint
