#include "rules/bind_fft.h"

#include "rules/op_info.h"

namespace weft::rules {

bool bind_real_fft(const Call& call, BoundRule& bound, std::string& why) {
  const TensorInfo& self = call.tensors[0];
  const auto transformed = call.dims("dim", self.ndim());
  if (transformed.size() != 1) return why = "it transforms several dimensions", false;
  // Kernels to real results order those in memory as their input is, which their meta kernel does not say.
  const Sizes& sizes = self.geometry.sizes;
  if (at::isComplexType(self.dtype) && !row_major(sizes, dense_strides(sizes, self.geometry.strides))) {
    return why = "its input's memory order decides its result's", false;
  }
  bound.tensors.resize(1);
  bound.results.resize(1);
  bound.tensors[0].operand = bound.results[0].operand = 0;
  bound.tensors[0].dims.resize(self.ndim());
  bound.results[0].dims.resize(self.ndim());
  for (int64_t d = 0; d < self.ndim(); ++d) {
    if (d == transformed[0]) continue;
    const int f = bound.add_factor(self.geometry.sizes[d]);
    bound.tensors[0].dims[d].push_back(f);
    bound.results[0].dims[d].push_back(f);
  }
  bound.pending.push_back({{0}, false});
  finish(call, bound);
  return true;
}

}  // namespace weft::rules
