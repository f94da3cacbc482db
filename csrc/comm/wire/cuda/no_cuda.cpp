// Stands in for the CUDA kernels in a build without the CUDA toolkit: core's copy does it all.
#include "comm/wire/plan_copy.h"

namespace weft::comm {

bool copy_words(const at::Tensor&, const at::Tensor&) { return false; }

}  // namespace weft::comm
