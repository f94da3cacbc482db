#include "paths/near_misses.h"

#include <algorithm>
#include <map>
#include <set>

#include "paths/layout_map_state.h"
#include "paths/pattern.h"

namespace weft {
namespace {

// Ways in which a pattern may have been meant.
enum Reading : uint8_t { kGlob, kPrefixed, kPart };

// An alternative at the top level would take the ".*" for itself.
std::string prefixed(const std::string& pattern) {
  const std::string out = pattern.find('|') == std::string::npos ? pattern : "(" + pattern + ")";
  return out.compare(0, 2, ".*") == 0 ? out : ".*" + out;
}

std::string read_as(Reading reading, const std::string& pattern) {
  if (reading == kGlob) return read_as_glob(pattern);
  return prefixed(pattern) + (reading == kPart ? ".*" : "");
}

}  // namespace

std::string read_as_glob(const std::string& pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char before = i == 0 ? '/' : pattern[i - 1];
    const bool bare = pattern[i] == '*' && (before == '/' || before == '(' || before == '|');
    out += bare ? ".*" : std::string(1, pattern[i]);
    while (bare && i + 1 < pattern.size() && pattern[i + 1] == '*') ++i;
  }
  return out;
}

std::vector<NearMiss> near_misses(const std::vector<std::string>& patterns,
                                  const std::vector<const VariableInfo*>& unmatched) {
  if (patterns.empty() || unmatched.empty()) return {};
  std::vector<std::string> globs, starts;
  for (const std::string& pattern : patterns) {
    const std::string glob = read_as_glob(pattern);
    globs.push_back(glob == pattern ? "(" : glob);  // "(": matches nothing
    starts.push_back(".*(?:" + pattern + ")");
  }
  const PathMatcher as_glob(globs, PathMatcher::whole), as_start(starts, PathMatcher::whole),
      as_part(patterns, PathMatcher::part);
  struct Missed {
    int64_t paths = 0;
    std::string example;
  };
  std::map<std::pair<int, Reading>, Missed> missed;
  for (const VariableInfo* variable : unmatched) {
    std::set<int> seen;
    for (const Spelling& s : spellings(variable->path, variable->module_type)) {
      const PathMatcher::Forms forms = forms_of(s.path, s.path);
      auto note = [&](const std::vector<int>& ids, Reading reading) {
        for (int id : ids) {
          if (!seen.insert(id).second) continue;
          Missed& one = missed[{id, reading}];
          if (one.example.empty()) one.example = s.path;
          ++one.paths;
        }
      };
      note(as_glob.match(forms), kGlob);
      note(as_start.match(forms), kPrefixed);
      note(as_part.match(forms), kPart);
    }
  }
  std::vector<NearMiss> out;
  for (const auto& [key, one] : missed) {
    const std::string& pattern = patterns[key.first];
    out.push_back({pattern, one.paths, one.example, read_as(key.second, pattern), key.second == kGlob});
  }
  return out;
}

}  // namespace weft
