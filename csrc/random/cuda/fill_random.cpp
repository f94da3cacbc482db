// The way to the GPU's kernels. Without a CUDA toolkit no_cuda.cpp stands here.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "random/box.h"
#include "random/cuda/kernels.h"
#include "random/cuda/launch.h"
#include "random/draw.h"

namespace weft::cuda {

void fill_random(const at::Tensor& out, const random::GlobalIndex& index, const random::Draw& draw, uint64_t key) {
  const c10::cuda::CUDAGuard guard(out.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  random::visit(draw, out.scalar_type(), [&](const auto& formula) {
    using Formula = std::decay_t<decltype(formula)>;
    auto* data = out.mutable_data_ptr<typename Formula::type>();
    const double *a = nullptr, *b = nullptr;
    if constexpr (requires { Formula::params; }) {
      a = draw.params[0].const_data_ptr<double>();
      b = Formula::params > 1 ? draw.params[1].const_data_ptr<double>() : a;
    }
    std::vector<at::Tensor> operands = {out};
    operands.insert(operands.end(), draw.params.begin(), draw.params.end());
    for (const random::Box& box : random::boxes(index, operands)) {
      C10_CUDA_CHECK(launch(formula, box, key, data, a, b, stream));
    }
  });
}

}  // namespace weft::cuda
