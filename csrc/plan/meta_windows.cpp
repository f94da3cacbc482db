#include <ATen/ATen.h>
#include <ATen/native/Pool.h>

#include "plan/meta_shapes.h"

namespace weft::shapes {
namespace {

// The last `windows` dimensions of other sizes.
at::Tensor with_last(const at::Tensor& self, int64_t windows, at::IntArrayRef last, at::MemoryFormat format) {
  TORCH_CHECK(static_cast<int64_t>(last.size()) == windows && self.dim() > windows, "[W068] ", windows,
              " windows of sizes ", last, " over ", self.dim(), " dimensions");
  auto sizes = self.sizes().vec();
  std::copy(last.begin(), last.end(), sizes.end() - static_cast<int64_t>(last.size()));
  return at::empty(sizes, self.options().memory_format(format));
}

// What is divided by, of the two last dimensions.
void check_windows(at::IntArrayRef list, const char* what) {
  TORCH_CHECK(list.size() == 2, "[W068] ", what, " should be of two numbers, but got ", list);
  TORCH_CHECK(list[0] > 0 && list[1] > 0, "[W068] ", what, " should be greater than zero, but got ", list);
}

}  // namespace

at::Tensor adaptive_avg_pool2d(const at::Tensor& self, c10::SymIntArrayRef output) {
  return with_last(self, 2, C10_AS_INTARRAYREF_SLOW(output), self.suggest_memory_format());
}
at::Tensor adaptive_avg_pool3d(const at::Tensor& self, c10::SymIntArrayRef output) {
  return with_last(self, 3, C10_AS_INTARRAYREF_SLOW(output), at::MemoryFormat::Contiguous);
}

Two max_pool3d(const at::Tensor& self, at::IntArrayRef kernel, at::IntArrayRef stride, at::IntArrayRef padding,
               at::IntArrayRef dilation, bool ceil_mode) {
  TORCH_CHECK(self.dim() >= 4, "[W068] max_pool3d of ", self.dim(), " dimensions");
  const auto at = [](at::IntArrayRef list, size_t i) { return list.size() == 1 ? list[0] : list[i]; };
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < 3; ++i) {
    const int64_t steps = stride.empty() ? at(kernel, i) : at(stride, i);
    sizes.push_back(at::native::pooling_output_shape(self.size(self.dim() - 3 + static_cast<int64_t>(i)), at(kernel, i),
                                                     at(padding, i), steps, at(dilation, i), ceil_mode));
  }
  const at::Tensor out = with_last(self, 3, sizes, self.suggest_memory_format());
  return {out, at::empty_like(out, out.options().dtype(at::kLong))};
}

at::Tensor max_unpool2d(const at::Tensor& self, const at::Tensor&, c10::SymIntArrayRef output) {
  return with_last(self, 2, C10_AS_INTARRAYREF_SLOW(output), self.suggest_memory_format());
}
at::Tensor max_unpool3d(const at::Tensor& self, const at::Tensor&, c10::SymIntArrayRef output, at::IntArrayRef,
                        at::IntArrayRef) {
  return with_last(self, 3, C10_AS_INTARRAYREF_SLOW(output), at::MemoryFormat::Contiguous);
}

at::Tensor im2col(const at::Tensor& self, at::IntArrayRef kernel, at::IntArrayRef dilation, at::IntArrayRef padding,
                  at::IntArrayRef stride) {
  TORCH_CHECK(self.dim() >= 3, "[W068] im2col of ", self.dim(), " dimensions");
  check_windows(kernel, "kernel_size");
  check_windows(stride, "stride");
  TORCH_CHECK(dilation.size() == 2 && padding.size() == 2, "[W068] im2col: ", dilation, " and ", padding);
  int64_t windows = 1;
  for (int i = 0; i < 2; ++i) {
    const int64_t span = dilation[i] * (kernel[i] - 1) + 1;
    windows *= (self.size(self.dim() - 2 + i) + 2 * padding[i] - span) / stride[i] + 1;
  }
  auto sizes = self.sizes().slice(0, self.dim() - 2).vec();
  sizes.back() *= kernel[0] * kernel[1];
  sizes.push_back(windows);
  return at::empty(sizes, self.options());
}
at::Tensor col2im(const at::Tensor& self, c10::SymIntArrayRef output, at::IntArrayRef kernel, at::IntArrayRef,
                  at::IntArrayRef, at::IntArrayRef) {
  const auto size = C10_AS_INTARRAYREF_SLOW(output);
  TORCH_CHECK(self.dim() >= 2 && size.size() == 2, "[W068] col2im of ", self.dim(), " dimensions to ", size);
  check_windows(kernel, "kernel_size");
  auto sizes = self.sizes().slice(0, self.dim() - 1).vec();
  sizes.back() /= kernel[0] * kernel[1];
  sizes.insert(sizes.end(), size.begin(), size.end());
  return at::empty(sizes, self.options());
}

at::Tensor grid_sampler(const at::Tensor& input, const at::Tensor& grid, int64_t, int64_t, bool) {
  TORCH_CHECK(input.dim() == grid.dim(), "[W068] grid_sampler of ", input.sizes(), " at ", grid.sizes());
  return with_last(input, grid.dim() - 2, grid.sizes().slice(1, grid.dim() - 2), at::MemoryFormat::Contiguous);
}

at::Tensor reflection_pad2d(const at::Tensor& self, c10::SymIntArrayRef padding) {
  const auto p = C10_AS_INTARRAYREF_SLOW(padding);
  TORCH_CHECK(self.dim() >= 3 && p.size() == 4, "[W068] reflection_pad2d of ", self.dim(), " dimensions by ", p);
  return with_last(self, 2, {self.size(-2) + p[2] + p[3], self.size(-1) + p[0] + p[1]}, self.suggest_memory_format());
}

at::Tensor unfold_backward(const at::Tensor& gradient, c10::SymIntArrayRef sizes, int64_t, int64_t, int64_t) {
  return at::empty(C10_AS_INTARRAYREF_SLOW(sizes), gradient.options());
}

}  // namespace weft::shapes
