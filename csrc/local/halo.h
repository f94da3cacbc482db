#pragma once
// A split dimension of a convolution or pooling: which rows each rank needs of the others.
#include <vector>

#include "layout/shard.h"
#include "rules/window.h"

namespace weft {

/// One such dimension, split over `axis` in the operands and the results, each by its own length.
struct Halo {
  Window window;
  int axis = 0;
  int64_t from_end = 1;  // the dimension, counted from the last one: 1
  Rows held, results;    // this rank's rows of the input and of the result
  Rows reads;            // the input rows that it needs, padding among them; a rank without results: padding alone
  /// For each coordinate, what this rank sends of the rows that it holds, and what it gets from the others.
  std::vector<Rows> sent, received;
  bool moves = false;  // whether any rank gets anything

  bool has_results() const { return !results.empty(); }
};

Halo make_halo(const Window& window, int axis, int64_t parts, int64_t coordinate, int64_t from_end);

/// The most rows that one rank gets from others when the dimension is split in so many parts.
int64_t halo_rows(const Window& window, int64_t parts);

}  // namespace weft
