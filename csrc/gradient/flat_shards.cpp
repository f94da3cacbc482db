#include "gradient/flat_shards.h"

#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "comm/wire/buffer.h"
#include "layout/shard.h"

namespace weft {

void FlatShards::assign(at::Tensor content) {
  filled_ = content.defined() ? content.numel() : 0;
  memory_ = std::move(content);
}

void FlatShards::make_room(int64_t elements) {
  const int64_t end = filled_ + elements;
  if (memory_.defined() && end <= memory_.numel()) return;
  const at::Tensor larger = comm::take_buffer(std::max(end, expected_), options_);
  if (filled_ > 0) larger.narrow(0, 0, filled_).copy_(content());
  memory_ = larger;
}

void FlatShards::append(c10::ArrayRef<at::Tensor> tensors) {
  int64_t elements = 0;
  for (const at::Tensor& t : tensors) elements += t.numel();
  make_room(elements);
  std::vector<at::Tensor> run;  // of those that lie in order
  int64_t run_elements = 0;
  const auto put_run = [&] {
    if (run.empty()) return;
    at::Tensor there = memory_.narrow(0, filled_, run_elements);
    at::cat_out(there, run);
    filled_ += std::exchange(run_elements, 0);
    run.clear();
  };
  for (const at::Tensor& t : tensors) {
    if (t.is_contiguous()) {
      run_elements += t.numel();
      run.push_back(at::native::as_strided_tensorimpl(t, {t.numel()}, {1}));  // no dispatch, unlike view
      continue;
    }
    put_run();
    memory_.as_strided(t.sizes(), row_major_strides(t.sizes()), memory_.storage_offset() + filled_).copy_(t);
    filled_ += t.numel();
  }
  put_run();
}

}  // namespace weft
