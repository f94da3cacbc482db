#pragma once
// What the kernels of copy_words.cu are called by.
#include <driver_types.h>

#include "comm/wire/strided_copy.h"

namespace weft::comm::cuda {

/// On the stream of the current device. Tells what went wrong in launching.
cudaError_t copy_words(const StridedCopy& copy, void* to, const void* from, cudaStream_t stream);

}  // namespace weft::comm::cuda
