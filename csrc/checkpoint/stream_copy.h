#pragma once
// Copies of more than the processor's caches hold.
#include <cstddef>

namespace weft::checkpoint {

/// Copies as std::memcpy does. What is written goes by the caches: it is not read first, and drives nothing out of
/// them.
void stream_copy(void* to, const void* from, size_t bytes);

}  // namespace weft::checkpoint
