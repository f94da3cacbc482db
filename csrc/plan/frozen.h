#pragma once
// A program that only repeats itself: while a graph of a device is captured, or where each step has to take the same
// time. Process-wide; every rank sets it alike.
#include <atomic>

#include "rules/call.h"

namespace weft {

namespace frozen_detail {
inline std::atomic<bool> on{false};
}
/// Whether an op is refused that has no plan yet. Asked where there is none alone.
inline bool frozen() { return frozen_detail::on.load(std::memory_order_relaxed); }
/// Returns what it was before.
bool set_frozen(bool on);
/// Raises RuntimeError, which names the op and its operands.
[[noreturn]] void refuse_new_plan(const Call& call);

}  // namespace weft
