// The CPU's loops over a shard, and the way to the GPU's.
#include <ATen/MemoryOverlap.h>

#include "random/box.h"
#include "random/cuda/kernels.h"
#include "random/draw.h"
#include "random/philox_block.h"

namespace weft::random {
namespace {

/// The values of a block's words. The formula by value and no aliases: only then this is vectorised.
template <class Formula>
void apply(Formula formula, const uint32_t* __restrict words, typename Formula::type* __restrict values) {
  for (int j = 0; j < kBlockWords / Formula::words; ++j) {
    formula(words + Formula::words * j, values + Formula::values * j);
  }
}

/// Elements index, index + 1, ... of a formula that maps the words of one counter to `kEach` values.
template <class Formula, class T = typename Formula::type>
void fill_run(const Formula& formula, uint64_t key, uint64_t index, int64_t n, T* out, int64_t stride) {
  constexpr int kEach = 4 / Formula::words * Formula::values, kBlock = kBlockWords / 4 * kEach;
  uint32_t words[kBlockWords];
  T values[kBlock];
  for (int64_t done = 0; done < n;) {
    const uint64_t counter = (index + done) / kEach;
    const int skip = static_cast<int>((index + done) % kEach);
    int made = kBlock;
    if (skip == 0 && n - done >= kBlock && stride == 1) {
      philox_block(key, counter, words);
      apply(formula, words, out + done);
      done += kBlock;
      continue;
    }
    if (skip + n - done > kEach) {
      philox_block(key, counter, words);
      apply(formula, words, values);
    } else {
      const Words few = philox(key, counter);
      made = static_cast<int>(skip + n - done);
      for (int j = skip / Formula::values; j * Formula::values < made; ++j) {
        formula(few.w + Formula::words * j, values + Formula::values * j);
      }
    }
    for (int k = skip; k < made && done < n; ++k, ++done) out[done * stride] = values[k];
  }
}

}  // namespace

void fill(const at::Tensor& out, const GlobalIndex& index, const Draw& draw, uint64_t key) {
  at::assert_no_internal_overlap(out);
  if (out.is_cuda()) return cuda::fill_random(out, index, draw, key);
  if (out.is_meta()) return;
  TORCH_CHECK_NOT_IMPLEMENTED(out.is_cpu(), "[W070] random values on ", out.device(),
                              " need weft.random_mode(\"replay\"): counter mode has kernels for CPU and CUDA only");
  visit(draw, out.scalar_type(), [&](const auto& formula) {
    using Formula = std::decay_t<decltype(formula)>;
    auto* data = out.mutable_data_ptr<typename Formula::type>();
    std::vector<at::Tensor> operands = {out};
    operands.insert(operands.end(), draw.params.begin(), draw.params.end());
    for (const Box& box : boxes(index, operands)) {
      const int inner = box.dims - 1;
      if constexpr (requires { Formula::params; }) {
        const double* a = draw.params[0].const_data_ptr<double>();
        const double* b = Formula::params > 1 ? draw.params[1].const_data_ptr<double>() : a;
        for_runs(box, [&](uint64_t first, const auto& offset, int64_t n) {
          for (int64_t j = 0; j < n; ++j) {
            data[offset[0] + j * box.stride[0][inner]] = formula(
                key, first + j, a[offset[1] + j * box.stride[1][inner]], b[offset[2] + j * box.stride[2][inner]]);
          }
        });
      } else {
        for_runs(box, [&](uint64_t first, const auto& offset, int64_t n) {
          fill_run(formula, key, first, n, data + offset[0], box.stride[0][inner]);
        });
      }
    }
  });
}

}  // namespace weft::random
