#pragma once
// Maps over a mesh (2, 2), and what they say.
#include <weft/layout_map.h>

#include <string>

#include "support/outcome.h"

namespace weft::test {

inline Mesh mesh() { return DeviceMesh::get({2, 2}, {"data", "model"}); }

inline std::string insert_error(const std::string& pattern, DimAxes axes = {{}}) {
  LayoutMap map(mesh());
  return error_of([&] { map.insert(pattern, axes); });
}

inline std::string found(const LayoutMap& map, const std::string& path, const std::string& type = "") {
  const auto match = map.lookup(path, type);
  return match ? match->pattern : "none";
}

}  // namespace weft::test
