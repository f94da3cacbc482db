// The way to the GPU's kernels. Without a CUDA toolkit no_cuda.cpp stands here.
#include <ATen/TensorSubclassLikeUtils.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "comm/wire/cuda/launch.h"
#include "comm/wire/plan_copy.h"

namespace weft::comm {

bool copy_words(const at::Tensor& to, const at::Tensor& from) {
  if (!to.is_cuda() || to.device() != from.device() || to.scalar_type() != from.scalar_type()) return false;
  if (at::areAnyTensorSubclassLike({to, from})) return false;  // fake ones have no memory
  if (to.is_conj() != from.is_conj() || to.is_neg() != from.is_neg()) return false;
  const std::optional<StridedCopy> copy = plan_copy(to, from);
  if (!copy) return false;
  const c10::cuda::CUDAGuard guard(to.device());
  C10_CUDA_CHECK(
      cuda::copy_words(*copy, to.mutable_data_ptr(), from.const_data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return true;
}

}  // namespace weft::comm
