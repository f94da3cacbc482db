#pragma once
// What is behind an error or a warning: each text of Weft's begins with the code of its kind, such as [W041].
#include <weft/export.h>

#include <string>

namespace weft {

/// What an error of that kind means, what causes it and what to do.
/// @param message  a code (W041) or the whole text of an error, which has one
/// Raises ValueError where there is no such code.
WEFT_API std::string explain_error(const std::string& message);

}  // namespace weft
