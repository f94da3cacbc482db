#pragma once
// Registration at load, and of ops defined later.
#include <torch/library.h>

#include <atomic>
#include <string>

namespace weft {

/// Registers the handler on every op that is not composite, the fallbacks, and the listener for later ops. Never
/// throws: where the key or the namespace is taken (a second copy of the library) base/installed.h has the reason.
/// `define` adds the classes and ops of torch.ops.weft.
void install(void (*define)(torch::Library& library)) noexcept;

namespace install_detail {
extern std::atomic<bool> queued;
void register_queued();
}  // namespace install_detail

/// Registers the ops defined since (the listener only queues them: it runs under the dispatcher's lock).
inline void register_queued_ops() {
  if (install_detail::queued.load(std::memory_order_relaxed)) install_detail::register_queued();
}

}  // namespace weft
