#pragma once
// The record of what a rank computes: each op on parts or plain tensors, with the shapes of its arguments.
#include <cstdint>
#include <string>
#include <vector>

namespace weft {

/// Calls that are alike.
struct ComputedOp {
  /// JSON text: {"op": name, "overload": name, "args": [...], "results": [...]}, where a tensor is {"shape": [...],
  /// "bytes": that lie in memory}, with its "strides" where it is not contiguous, and what is no tensor, int, bool or
  /// list of such null.
  std::string call;
  std::vector<int64_t> ends;  // of each: rows of the record of memory when its results were there; 0 without one
};
using ComputedOps = std::vector<ComputedOp>;

/// Begins a record of the ops that this thread calls. Left out are those that are made of others, views, what is on
/// sharded tensors (their parts are in it) and what plans are made by. What an op takes and gives back on the meta
/// device leaves the record of memory. Raises ValueError where one is under way.
void compute_log_start();
/// Ends it, in the order in which they first came. Raises ValueError where none is under way.
ComputedOps compute_log_stop();

}  // namespace weft
