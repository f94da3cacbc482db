#pragma once
// How an op is run on shards whose part of the result takes more than the op on the local arguments.
#include <weft/layout.h>

#include <vector>

#include "rules/op_info.h"

namespace weft {

/// Made by the planner from layouts and shapes, and kept in the plan: runs may be at once on several threads.
class LocalCall {
 public:
  virtual ~LocalCall() = default;
  /// Runs the op with its local arguments on the stack and leaves this rank's part of the results there. Below
  /// autograd. May communicate over the mesh, alike on all ranks; what runs on this rank's own data goes through
  /// comm::run_local.
  virtual void run(const OpInfo& op, Mesh mesh, std::vector<c10::IValue>& stack) const = 0;
};

}  // namespace weft
