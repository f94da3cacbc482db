#pragma once
// What a map has left out of a module: a warning.
#include <weft/layout_map.h>

#include <string>
#include <vector>

namespace weft {

/// Names the map's patterns that nothing was ever looked up by, with what they nearly match, and the large variables
/// that no entry matched. Empty: there is nothing to tell.
/// @param unmatched  the variables that no entry matched
/// @param all_bytes  of all the module's variables
/// @param whole_is_meant  of none of those a word, as the map's maker left them whole on purpose
std::string unheeded(const LayoutMap& map, const std::vector<VariableInfo>& unmatched, int64_t all_bytes,
                     bool whole_is_meant);

}  // namespace weft
