#pragma once
// Work in torch's intra-op threads.
#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace weft {

/// Calls body(begin, end) for parts of [0, n), in torch's intra-op threads where n > grain.
void in_parallel(int64_t n, int64_t grain, c10::function_ref<void(int64_t, int64_t)> body);

}  // namespace weft
