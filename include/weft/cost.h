#pragma once
// What the planner takes collectives to cost.
#include <c10/util/ArrayRef.h>
#include <weft/export.h>
#include <weft/layout.h>

#include <cstdint>
#include <string>

namespace weft {

/// Seconds that the planner takes a collective over a mesh axis to last. All ranks get the same.
/// @param kind   "all_gather", "all_to_all", "all_reduce" or "reduce_scatter"
/// @param axis   a name of the mesh's axes
/// @param bytes  that a rank holds before or after it, whichever are more
/// 20 us and 10 GB/s, whatever the machine: plans are the same in every run. With "measure" in the environment variable
/// WEFT_COST the times are measured where the mesh is first planned for, or first asked about (then every rank has to
/// ask), in a second at most; with a path they are those of a file with the text of `cost`.
/// Raises ValueError for another kind, axis or less than 0 bytes; for a file that cannot be read or is of another mesh.
WEFT_API double collective_seconds(Mesh mesh, const std::string& kind, const std::string& axis, int64_t bytes);

/// Seconds that the planner takes a tensor of that global shape to need from one layout to another, on the way that
/// `distribute_tensor` and ops take: the sum of its collectives, 0 where none runs. All ranks get the same.
/// Raises ValueError where the layouts are on two meshes, not for that number of dimensions, or undefined.
WEFT_API double redistribution_seconds(c10::IntArrayRef global_sizes, int64_t element_bytes, Layout from, Layout to);

/// Collectives' costs as JSON text: per axis and kind nanoseconds for the sizes in "bytes", and the products per second
/// that a rank is taken to compute.
WEFT_API std::string cost(Mesh mesh);

}  // namespace weft
