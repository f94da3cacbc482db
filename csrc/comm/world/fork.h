#pragma once
// A process that is forked off has the sockets of its parent's groups and store, but none of the threads that serve
// them: whatever it sends it would wait for ever for, or spoil the parent's own.
#include <atomic>

namespace weft::comm {

namespace fork_detail {
inline std::atomic<bool> forked{false};
[[noreturn]] void raise();
}  // namespace fork_detail

/// Called where a world is joined: from then on children are told apart.
void watch_forks();

/// Whether this process was forked off one that had joined a world.
inline bool is_forked() { return fork_detail::forked.load(std::memory_order_relaxed); }

/// Raises RuntimeError, saying what to do instead, in a process that was.
inline void check_not_forked() {
  if (is_forked()) [[unlikely]]
    fork_detail::raise();
}

}  // namespace weft::comm
