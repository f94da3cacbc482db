#pragma once
// Names that the tests of csrc/dispatch say short, and layouts over three ranks.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/tensor.h>

#include "support/boxed.h"
#include "support/outcome.h"
#include "support/run_ranks.h"
#include "support/sent.h"

namespace weft {

using test::call;
using test::difference;
using test::error_of;
using test::errors_of_ranks;
using test::line;
using test::run_ranks;
using test::Values;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

using Axes = std::vector<std::vector<std::string>>;
const Axes kRows{{"x"}, {}}, kColumns{{}, {"x"}}, kWhole{{}, {}};

inline Layout layout(const Axes& axes) { return TensorLayout::from_names(line(3), axes); }

/// 0, 1, 2, …
inline at::Tensor numbers(at::IntArrayRef sizes) {
  return at::arange(c10::multiply_integers(sizes), at::kFloat).view(sizes);
}

}  // namespace weft
