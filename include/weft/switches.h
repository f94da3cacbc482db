#pragma once
// Process-wide switches.
#include <weft/export.h>

namespace weft {

/// Whether each op on sharded tensors looks for NaN and Inf in this rank's part of what it makes; off at first. Returns
/// what it was before. The rank that finds one raises RuntimeError, which names the op, the rank and the variable's
/// path, and the others raise the same one where they next wait for it. No error is an Inf that the op was given as a
/// number, nor a -Inf that an operand had before: masks are made of them. Each op then reads its results once more; on
/// a GPU the host waits for them.
WEFT_API bool check_finite(bool on);

}  // namespace weft
