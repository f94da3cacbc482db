#pragma once
#include "rules/bound.h"

namespace weft::rules {

/// _fft_r2c over one dimension: over several the strides that core's shape functions tell are not its kernels'.
bool bind_real_fft(const Call& call, BoundRule& bound, std::string& why);

}  // namespace weft::rules
