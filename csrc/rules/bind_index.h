#pragma once
#include "rules/bound.h"

namespace weft::rules {

/// index.Tensor, index_put: dimensions without an index are free; indices of a read may be split. Writing one value to
/// what a mask chooses needs no index: all dimensions are free.
bool bind_index(const Call& call, BoundRule& bound, std::string& why);
/// new_zeros, new_empty, ...: as self where the shape is self's.
bool bind_new(const Call& call, BoundRule& bound, std::string& why);
/// select_backward, slice_backward, ...
bool bind_view_backward(const Call& call, BoundRule& bound, std::string& why);
/// _fft_r2c over one dimension: over several the strides that core's shape functions tell are not its kernels'.
bool bind_real_fft(const Call& call, BoundRule& bound, std::string& why);
/// select_scatter, slice_scatter, ...
bool bind_view_scatter(const Call& call, BoundRule& bound, std::string& why);

}  // namespace weft::rules
