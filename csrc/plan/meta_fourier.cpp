// Fourier transforms on CPUs: shapes, and strides in the order in which the kernels go through memory
// (aten/src/ATen/native/mkl/SpectralOps.cpp). Those of GPUs have orders of their own, which core's Python tells.
#include <ATen/ATen.h>
#include <ATen/WrapDimUtils.h>

#include <algorithm>

#include "plan/meta_shapes.h"

namespace weft::shapes {
namespace {

using Dims = at::DimVector;

// Core sorts by std::sort, which keeps ties in their order in lists as short as these.
template <class Iterator>
void by_strides(Iterator begin, Iterator end, at::IntArrayRef strides) {
  std::stable_sort(begin, end, [&](int64_t a, int64_t b) { return strides[a] > strides[b]; });
}

Dims wrapped(const at::Tensor& self, at::IntArrayRef dim) {
  Dims out(dim.begin(), dim.end());
  at::maybe_wrap_dims(out, self.dim());
  return out;
}

// The transformed dimensions are innermost, in the order given; the others outside them as in the input.
at::Tensor transformed(const at::Tensor& self, at::IntArrayRef sizes, at::IntArrayRef dims, at::ScalarType dtype) {
  const auto options = self.options().dtype(dtype);
  if (!at::hasMKL()) return at::empty(sizes, options);
  Dims order;
  for (int64_t d = 0; d < self.dim(); ++d) {
    if (std::find(dims.begin(), dims.end(), d) == dims.end()) order.push_back(d);
  }
  by_strides(order.begin(), order.end(), self.strides());
  order.append(dims.begin(), dims.end());
  TORCH_CHECK(static_cast<int64_t>(order.size()) == self.dim(), "[W068] a Fourier transform over dimensions ", dims,
              " of ", self.dim());
  Dims strides(order.size());
  int64_t step = 1;
  for (auto d = order.rbegin(); d != order.rend(); ++d) {
    strides[*d] = step;
    step *= std::max<int64_t>(sizes[*d], 1);
  }
  return at::empty_strided(sizes, strides, options);
}

}  // namespace

at::Tensor fft_c2c(const at::Tensor& self, c10::SymIntArrayRef dim, int64_t, bool) {
  TORCH_CHECK(self.is_complex(), "[W068] a complex Fourier transform of ", self.scalar_type());
  Dims dims = wrapped(self, C10_AS_INTARRAYREF_SLOW(dim));
  if (dims.empty()) return at::empty_like(self);
  by_strides(dims.begin(), dims.end(), self.strides());
  return transformed(self, self.sizes(), dims, self.scalar_type());
}

at::Tensor fft_r2c(const at::Tensor& self, at::IntArrayRef dim, int64_t, bool onesided) {
  TORCH_CHECK(self.is_floating_point() && !dim.empty(), "[W068] a real Fourier transform of ", self.scalar_type(),
              " over dimensions ", dim);
  Dims dims = wrapped(self, dim), sizes(self.sizes().begin(), self.sizes().end());
  if (onesided) sizes[dims.back()] = sizes[dims.back()] / 2 + 1;
  by_strides(dims.begin(), dims.end() - 1, self.strides());
  return transformed(self, sizes, dims, c10::toComplexType(self.scalar_type()));
}

// Complex over all dimensions but the last, then real over that.
at::Tensor fft_c2r(const at::Tensor& self, at::IntArrayRef dim, int64_t normalization, c10::SymInt last_size) {
  TORCH_CHECK(self.is_complex() && !dim.empty(), "[W068] a Fourier transform to real numbers of ", self.scalar_type(),
              " over dimensions ", dim);
  const at::Tensor input =
      dim.size() > 1 ? fft_c2c(self, c10::fromIntArrayRefSlow(dim.slice(0, dim.size() - 1)), normalization, false)
                     : self;
  const Dims dims = wrapped(self, dim);
  Dims sizes(self.sizes().begin(), self.sizes().end());
  sizes[dims.back()] = last_size.expect_int();
  return transformed(input, sizes, {dims.back()}, c10::toRealValueType(self.scalar_type()));
}

}  // namespace weft::shapes
