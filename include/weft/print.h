#pragma once
// Printing of sharded tensors: core's `operator<<` reads memory below the dispatcher, and ends in an error for them.
#include <ATen/core/Tensor.h>
#include <weft/export.h>

#include <string>

namespace weft {

/// The tensor as text, as Python prints it: of a sharded one this rank's part, shape, layout and variable path; of one
/// with a pending reduction no values; of a plain one what core prints. No collective, so that one rank alone may
/// print.
///   std::cout << weft::describe(x) << '\n';
WEFT_API std::string describe(const at::Tensor& tensor);

}  // namespace weft
