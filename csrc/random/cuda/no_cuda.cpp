// Stands in for the CUDA kernels in a build without the CUDA toolkit.
#include "random/cuda/kernels.h"

namespace weft::cuda {
namespace {

[[noreturn]] void missing(const char* what) {
  TORCH_CHECK_NOT_IMPLEMENTED(false, "[W070] ", what,
                              " on GPUs needs a Weft that was built with the CUDA toolkit (nvcc); see "
                              "WEFT_CUDA in CMakeLists.txt");
}

}  // namespace

void fill_random(const at::Tensor&, const random::GlobalIndex&, const random::Draw&, uint64_t) {
  missing("Drawing random values (weft.random_mode(\"counter\"))");
}

}  // namespace weft::cuda
