#pragma once
// Printing of sharded tensors. Core's `operator<<` prints them so too, in programs whose link line has weft before
// torch, as with CMake's weft::weft.
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
