#pragma once
#include <ATen/core/Tensor.h>

namespace weft::comm {

/// Uninitialised flat memory for a collective that every step makes: on a CPU what was given before and nobody holds
/// any more, if it fits. Large blocks that are freed go back to the kernel, and each of their pages costs a fault when
/// they come anew; allocators of other devices keep theirs.
at::Tensor take_buffer(int64_t elements, const at::TensorOptions& options);
/// Those of simulated meshes that nobody holds are given back, so that another program over one begins as a real one.
void drop_simulated_buffers();

}  // namespace weft::comm
