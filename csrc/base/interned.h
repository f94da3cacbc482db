#pragma once
#include <string>

namespace weft {

/// The same text, which lives as long as the process: equal texts are one. For variable paths, of which there are few.
const std::string* interned(const std::string& text);

}  // namespace weft
