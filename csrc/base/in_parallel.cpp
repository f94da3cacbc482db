#include "base/in_parallel.h"

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/ops/empty.h>

#include <algorithm>

namespace weft {

// By iterating over a byte for each grain: at::parallel_for is serial in code compiled without OpenMP, and with it
// might bring in a second OpenMP that knows nothing of torch.set_num_threads.
void in_parallel(int64_t n, int64_t grain, c10::function_ref<void(int64_t, int64_t)> body) {
  if (n <= grain || at::get_num_threads() == 1 || at::in_parallel_region()) return body(0, n);
  const at::Tensor marks = at::empty({(n + grain - 1) / grain}, at::kByte);
  const char* start = static_cast<const char*>(marks.const_data_ptr());
  auto iterator = at::TensorIterator::borrowing_nullary_op(marks);
  const auto loop = [&](char** data, const int64_t*, int64_t count, int64_t) {
    const int64_t first = data[0] - start;
    body(first * grain, std::min((first + count) * grain, n));
  };
  iterator.for_each(loop, /*grain_size=*/1);
}

}  // namespace weft
