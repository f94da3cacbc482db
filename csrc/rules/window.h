#pragma once
// Sliding windows (convolution, pooling): which rows of the input a row of the result is made of, in one dimension.
#include <cstdint>
#include <optional>

namespace weft {

struct Call;

/// Consecutive indices of a dimension, from `begin` to before `end`.
struct Rows {
  int64_t begin = 0, end = 0;
  int64_t length() const { return end - begin; }
  bool empty() const { return end <= begin; }
  /// What both have; {0, 0} where that is nothing.
  Rows common(const Rows& other) const;
};

struct Window {
  enum class Kind : uint8_t { convolution, average, maximum };
  Kind kind = Kind::convolution;
  int64_t in = 0, out = 0;  // lengths of the input's and the result's dimension
  int64_t kernel = 1, stride = 1, padding = 0, dilation = 1;
  bool transposed = false;

  /// How far the first and the last element of a window lie apart.
  int64_t reach() const { return dilation * (kernel - 1); }
  /// The input rows that the result's rows (at least one) are made of. Rows outside [0, in) are padding. Run on them
  /// without padding, the op gives the result's rows from first_result() on: exactly those asked for, or, where
  /// transposed, some more on both sides.
  Rows reads(const Rows& results) const;
  int64_t first_result(const Rows& results) const;
  /// How many rows that is.
  int64_t results_of(const Rows& reads) const;
};

/// The window of a call along its `from_end`-th dimension from the end, told by the arguments `kernel_size` (without
/// it: the shape of `weight`), `stride`, `padding`, `dilation` and `transposed`. nullopt where there is none.
std::optional<Window> window_of(const Call& call, int64_t from_end, Window::Kind kind);

}  // namespace weft
