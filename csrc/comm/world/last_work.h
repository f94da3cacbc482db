#pragma once
// Gloo's worker threads let go of a collective's tensors after they have woken the one that waits for it: who asks
// right then who else holds a tensor finds them. They take Python's lock for tensors that Python knows. A thread that
// waits for the lock when Python finalizes is ended in the midst of a noexcept destructor, and with it the process:
// "terminate called without an active exception".
#include <chrono>
#include <vector>

#include "mesh/context.h"

namespace weft::comm {

/// Waits until Gloo's workers have let go of all collectives of the process's own groups and these, half a second at
/// most: others may never come to what is under way.
void await_workers(std::vector<Group> groups = {});

/// For the end of a process: waits for the same, of the groups. What is still under way at the deadline
/// (other ranks never came to it) is kept for good, so that no worker has to destroy it. The groups go on working.
void finish_work(const std::vector<Group>& groups, std::chrono::steady_clock::time_point deadline);

/// The same at the end of the process, for its own groups and these: waits half a second at most, however often called.
void finish_last_work(std::vector<Group> groups = {});

/// Calls that before the process's static objects are destroyed.
void finish_last_work_at_exit();

}  // namespace weft::comm
