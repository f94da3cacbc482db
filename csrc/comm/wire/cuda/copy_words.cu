// Packing on a GPU: a thread for a few words, whose reads are all on their way before the first is written.
#include <cuda_runtime.h>

#include "comm/wire/cuda/launch.h"

namespace weft::comm::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kEach = 4;  // words of a thread, kThreads apart, so that neighbours touch neighbours

template <class Word>
__global__ void copy_each(const __grid_constant__ StridedCopy copy, Word* to, const Word* from) {
  const uint32_t first = blockIdx.x * (kThreads * kEach) + threadIdx.x;
  Word word[kEach];
  int64_t at[kEach];
#pragma unroll
  for (unsigned k = 0; k < kEach; ++k) {
    const uint32_t i = first + k * kThreads;
    if (i >= copy.words) continue;
    const StridedCopy::Place place = copy.place(i);
    at[k] = place.to;
    word[k] = from[place.from];
  }
#pragma unroll
  for (unsigned k = 0; k < kEach; ++k) {
    if (first + k * kThreads < copy.words) to[at[k]] = word[k];
  }
}

template <class Word>
cudaError_t launch(const StridedCopy& copy, void* to, const void* from, cudaStream_t stream) {
  const unsigned blocks = (copy.words + kThreads * kEach - 1) / (kThreads * kEach);
  copy_each<<<blocks, kThreads, 0, stream>>>(copy, static_cast<Word*>(to), static_cast<const Word*>(from));
  return cudaGetLastError();
}

}  // namespace

cudaError_t copy_words(const StridedCopy& copy, void* to, const void* from, cudaStream_t stream) {
  switch (copy.width) {
    case 1:
      return launch<uint8_t>(copy, to, from, stream);
    case 2:
      return launch<uint16_t>(copy, to, from, stream);
    case 4:
      return launch<uint32_t>(copy, to, from, stream);
    case 8:
      return launch<uint2>(copy, to, from, stream);
    default:
      return launch<uint4>(copy, to, from, stream);
  }
}

}  // namespace weft::comm::cuda
