#pragma once
// One random state for all processes of the world.
#include <c10/core/DeviceType.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

namespace weft::comm {

/// Where the group can send from: the CPU's memory if it can, which is quicker than a GPU's.
c10::DeviceType sends_from(c10d::ProcessGroup& group);

/// All ranks call it and then have rank 0's: weights that each makes by itself are then the same, and a stream that was
/// seeded and drawn from before goes on as it would in one process. A GPU's is shared where every rank has one.
void share_random_state();

}  // namespace weft::comm
