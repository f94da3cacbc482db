#pragma once
// Patterns whose names are nearly those of paths.
#include <set>
#include <string>
#include <string_view>

namespace weft {

/// Of what names are made: of all between two separators, or of the parts between underscores.
enum class NameUnit : uint8_t { name, part };

/// Adds the path's names. Those that are numbers, or very long, are left out.
void add_names(std::string_view path, NameUnit unit, std::set<std::string>& names);

/// The pattern with the likest of `names` in the place of each name of its own that is not among them, where one is
/// like it; the same where none is.
std::string respelt(const std::string& pattern, NameUnit unit, const std::set<std::string>& names);

}  // namespace weft
