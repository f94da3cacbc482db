#pragma once
// Patterns that were meant for paths which they do not match.
#include <weft/layout_map.h>

#include <string>
#include <vector>

namespace weft {

struct NearMiss {
  enum Kind : uint8_t { glob, part, spelling };
  std::string pattern;
  int64_t paths;        // how many are missed in this way
  std::string example;  // the first of them
  std::string instead;  // the pattern that matches them
  Kind kind;            // its '*' was meant as in shell patterns, it matches a part, or a name in it is another
};

/// Those of the patterns that match a part of the variables' paths, or would match them if they were shell patterns
/// ("layers/*/weight"), in the order of `patterns`. Then those of the patterns that match nothing, `unused`, which
/// would match if a name in them were spelt as it is in a path ("layers/.*/weigth").
std::vector<NearMiss> near_misses(const std::vector<std::string>& patterns, const std::vector<std::string>& unused,
                                  const std::vector<const VariableInfo*>& unmatched);

/// The pattern with each '*' that has nothing to repeat, as in shell patterns, as ".*"; the same where there is none.
std::string read_as_glob(const std::string& pattern);

}  // namespace weft
