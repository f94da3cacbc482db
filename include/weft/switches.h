#pragma once
// Process-wide switches.
#include <weft/export.h>

#include <cstdint>

namespace weft {

/// Whether each op on sharded tensors looks for NaN and Inf in this rank's part of what it makes; off at first. Returns
/// what it was before. The rank that finds one raises RuntimeError, which names the op, the rank and the variable's
/// path, and the others raise the same one where they next wait for it. No error is an Inf that the op was given as a
/// number, nor a -Inf that an operand had before: masks are made of them. Each op then reads its results once more; on
/// a GPU the host waits for them.
WEFT_API bool check_finite(bool on);

/// How many bytes of split variables may be gathered, or on their way, before an op asks for them, by the order of the
/// passes before; 256 MiB at first, 0: none. Every rank sets it alike. Returns what it was before. Raises ValueError
/// for less than 0.
WEFT_API int64_t overlap(int64_t budget);

/// Whether a split variable that forward gathered stays so until backward has used it, so that it is gathered once a
/// step and not twice; off at first. At the end of forward all variables that backward needs are then there, in full:
/// their bytes on each rank, beside the budget. Every rank sets it alike. Returns what it was before.
WEFT_API bool keep_gathered(bool keep);

}  // namespace weft
