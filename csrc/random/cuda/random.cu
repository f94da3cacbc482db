// Random values by global index on a GPU: a thread for each Philox counter that a row of the shard touches. No torch
// but its small number types in here: nvcc parses a source three times, and torch's headers take it most of a minute.
#include <algorithm>
#include <cuda_runtime.h>

#include "random/cuda/launch.h"

namespace weft::cuda {
namespace {

using random::Box;

constexpr int kThreads = 256;

struct Place {
  uint64_t index;
  int64_t offset[Box::kMaxOperands];
};
/// The first element of a row, a run along the box's last dimension.
__device__ Place row_start(const Box& box, int64_t row) {
  Place place{static_cast<uint64_t>(box.index), {box.offset[0], box.offset[1], box.offset[2]}};
  for (int d = box.dims - 2; d >= 0; --d) {
    const int64_t at = row % box.size[d];
    row /= box.size[d];
    place.index += at * box.index_stride[d];
    for (int k = 0; k < Box::kMaxOperands; ++k) place.offset[k] += at * box.stride[k][d];
  }
  return place;
}

/// `counters`: the most counters that a row touches, which depends on how it lies to their boundaries.
template <class Formula>
__global__ void fill_counters(Formula formula, const __grid_constant__ Box box, int64_t counters, uint64_t key,
                              typename Formula::type* out) {
  constexpr int kEach = 4 / Formula::words * Formula::values;
  const int inner = box.dims - 1;
  const int64_t length = box.size[inner], total = box.numel / length * counters;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < total; i += int64_t{gridDim.x} * kThreads) {
    const Place place = row_start(box, i / counters);
    const uint64_t counter = place.index / kEach + i % counters;
    const random::Words words = random::philox(key, counter);
    typename Formula::type values[kEach];
    for (int j = 0; j < 4 / Formula::words; ++j) formula(words.w + Formula::words * j, values + Formula::values * j);
    const int64_t first = static_cast<int64_t>(counter * kEach - place.index);  // of the counter's values, in the row
    for (int k = 0; k < kEach; ++k) {
      const int64_t at = first + k;
      if (at >= 0 && at < length) out[place.offset[0] + at * box.stride[0][inner]] = values[k];
    }
  }
}

template <class Formula>
__global__ void fill_elements(Formula formula, const __grid_constant__ Box box, uint64_t key,
                              typename Formula::type* out, const double* a, const double* b) {
  const int inner = box.dims - 1;
  const int64_t length = box.size[inner];
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < box.numel; i += int64_t{gridDim.x} * kThreads) {
    const Place place = row_start(box, i / length);
    const int64_t at = i % length;
    out[place.offset[0] + at * box.stride[0][inner]] =
        formula(key, place.index + at, a[place.offset[1] + at * box.stride[1][inner]],
                b[place.offset[2] + at * box.stride[2][inner]]);
  }
}

unsigned grid_for(int64_t threads) {
  int device = 0, processors = 1;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  return static_cast<unsigned>(std::min((threads + kThreads - 1) / kThreads, processors * int64_t{16}));
}

}  // namespace

template <class Formula>
cudaError_t launch(const Formula& formula, const Box& box, uint64_t key, typename Formula::type* out, const double* a,
                   const double* b, cudaStream_t stream) {
  if constexpr (requires { Formula::params; }) {
    fill_elements<<<grid_for(box.numel), kThreads, 0, stream>>>(formula, box, key, out, a, b);
  } else {
    constexpr int64_t kEach = 4 / Formula::words * Formula::values;
    const int64_t length = box.size[box.dims - 1], rows = box.numel / length;
    const bool aligned = rows == 1 && box.index % kEach == 0;
    const int64_t counters = (length + kEach - 1) / kEach + (aligned ? 0 : 1);
    fill_counters<<<grid_for(rows * counters), kThreads, 0, stream>>>(formula, box, counters, key, out);
  }
  return cudaGetLastError();
}

// What random::visit() asks for; the linker tells where one is missing.
#define FORMULA(name, T)                                                                                      \
  template cudaError_t launch(const random::name<T>&, const Box&, uint64_t, T*, const double*, const double*, \
                              cudaStream_t);
#define FLOATING(name) FORMULA(name, float) FORMULA(name, double) FORMULA(name, c10::Half) FORMULA(name, c10::BFloat16)
#define ALL(name) \
  FLOATING(name)  \
  FORMULA(name, uint8_t) FORMULA(name, int8_t) FORMULA(name, int16_t) FORMULA(name, int32_t) FORMULA(name, int64_t)

FLOATING(Uniform)
FLOATING(Normal)
FLOATING(LogNormal)
FLOATING(Exponential)
FLOATING(Cauchy)
FLOATING(Poisson)
FLOATING(Binomial)
FLOATING(Gamma)
ALL(Geometric)
ALL(Bernoulli)
FORMULA(Bernoulli, bool)
ALL(BernoulliEach)
FORMULA(BernoulliEach, bool)
ALL(Integers)
FORMULA(Integers, bool)
FORMULA(Integers, uint16_t)
FORMULA(Integers, uint32_t)
FORMULA(Integers, uint64_t)

}  // namespace weft::cuda
