#pragma once
#include <atomic>

namespace weft::comm {

/// Whether values have identities and messages their collective's tag, as they always do but in the benchmark of what
/// that costs (tools/bench/guard.py). The same on all ranks.
inline std::atomic<bool> guard_is_on{true};
inline bool guarded() { return guard_is_on.load(std::memory_order_relaxed); }

}  // namespace weft::comm
