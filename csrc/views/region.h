#pragma once
// A strided region of a tensor, per dimension: what as_strided's numbers mean in terms of the tensor's dimensions.
#include <optional>
#include <vector>

#include "tensor/sharded.h"

namespace weft {

/// The elements start, start + step, ... (length of them) of one root dimension.
struct Range {
  int64_t start = 0, length = 1, step = 1;
  int view_dim = -1;  // the dimension of the view that runs along it; -1: none (a single element)
};

/// The ranges of the root's dimensions that a view with that geometry covers; view dimensions of length 1 or stride 0
/// (broadcast) run along none. nullopt where the view mixes dimensions (a diagonal, a flattened or split dimension).
std::optional<std::vector<Range>> decode_region(const Geometry& root, const Geometry& view);

}  // namespace weft
