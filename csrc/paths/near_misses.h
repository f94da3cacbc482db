#pragma once
// Patterns that were meant for paths which they do not match.
#include <weft/layout_map.h>

#include <string>
#include <vector>

namespace weft {

struct NearMiss {
  std::string pattern;
  int64_t paths;        // how many are missed in this way
  std::string example;  // the first of them
  std::string instead;  // the pattern that matches them
  bool as_glob;         // its '*' was meant as in shell patterns
};

/// Those of the patterns that match a part of the variables' paths, or would match them if they were shell patterns
/// ("layers/*/weight"), in the order of `patterns`.
std::vector<NearMiss> near_misses(const std::vector<std::string>& patterns,
                                  const std::vector<const VariableInfo*>& unmatched);

/// The pattern with each '*' that has nothing to repeat, as in shell patterns, as ".*"; the same where there is none.
std::string read_as_glob(const std::string& pattern);

}  // namespace weft
