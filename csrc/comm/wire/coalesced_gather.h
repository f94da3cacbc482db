#pragma once
#include <ATen/core/Tensor.h>
#include <weft/layout.h>

#include <memory>
#include <vector>

#include "comm/wire/collectives.h"

namespace weft::comm {

/// Tensors that are gathered in one collective, which need not have come yet.
struct PendingGathers {
  virtual ~PendingGathers() = default;
  /// Number `i`, row-major; waits for all, the first time. Nobody may write to it.
  virtual at::Tensor take(size_t i) = 0;
  /// So that nothing is under way any more.
  virtual void wait() = 0;
};

/// Does what `all_gather` does, for several tensors on one device, of any dtypes, in one collective that is not waited
/// for. A single input may be sent from its own memory: what is written there before it has come may arrive in part.
std::unique_ptr<PendingGathers> all_gather_coalesced(const std::vector<Divided>& tensors, Mesh mesh, int axis);

}  // namespace weft::comm
