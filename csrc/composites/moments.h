#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace weft::rules {

/// Over some dimensions, which stay, 1 long.
struct Moments {
  at::Tensor mean;      // NaN where nothing is meant
  at::Tensor square;    // the mean of |centered|^2
  at::Tensor centered;  // values - mean
};

/// `dims`: not negative, one at least. Where the values are split over them, each part's moments are taken from its own
/// mean, and brought to that of all when all are here (Chan, Golub and LeVeque, 1979): one collective. Where that is
/// the dearer way, the mean is reduced first.
Moments moments(const at::Tensor& values, const std::vector<int64_t>& dims);

}  // namespace weft::rules
