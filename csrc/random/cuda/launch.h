#pragma once
// What the kernels of random.cu are called by.
#include <driver_types.h>

#include "random/dense_box.h"
#include "random/rejection.h"

namespace weft::cuda {

/// Fills a box that is not empty, on the stream of the current device; a, b: a formula's parameters for each element,
/// else not looked at. Tells what went wrong in launching.
template <class Formula>
cudaError_t launch(const Formula& formula, const random::Box& box, uint64_t key, typename Formula::type* out,
                   const double* a, const double* b, cudaStream_t stream);

}  // namespace weft::cuda
