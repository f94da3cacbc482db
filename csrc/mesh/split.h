#pragma once
// Groups of some of the world's ranks, out of the world's own backends.
#include <string>
#include <vector>

#include "mesh/context.h"

namespace weft {

/// Each backend once.
std::vector<c10::intrusive_ptr<c10d::Backend>> backends_of(const Group& group);

/// The group of `ranks` (of the world, rising, this one among them). A step of the whole world: each rank calls it for
/// its own part, all in the same order. `name` is another one for each part and each split.
Group split_world(const Group& world, const std::vector<int>& ranks, const std::string& name);

}  // namespace weft
