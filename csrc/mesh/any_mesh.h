#pragma once

namespace weft {

/// Whether a mesh was made in this process; before that no tensor is sharded.
bool any_mesh();

}  // namespace weft
