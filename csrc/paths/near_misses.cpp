#include "paths/near_misses.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "paths/layout_map_state.h"
#include "paths/pattern.h"
#include "paths/respelt.h"

namespace weft {
namespace {

// Ways in which a pattern may have been meant.
enum Reading : uint8_t { kGlob, kPrefixed, kPart };

constexpr const char* kNothing = "(";  // is no expression, and matches nothing

// An alternative at the top level would take the ".*" for itself.
std::string prefixed(const std::string& pattern) {
  const std::string out = pattern.find('|') == std::string::npos ? pattern : "(" + pattern + ")";
  return out.compare(0, 2, ".*") == 0 ? out : ".*" + out;
}

std::string read_as(Reading reading, const std::string& pattern) {
  if (reading == kGlob) return read_as_glob(pattern);
  return prefixed(pattern) + (reading == kPart ? ".*" : "");
}

struct Missed {
  int64_t paths = 0;
  std::string example;
};

// Patterns with the names of paths in them.
std::vector<NearMiss> misspelt(const std::vector<std::string>& patterns,
                               const std::vector<const VariableInfo*>& unmatched) {
  std::vector<std::string> others;
  for (const NameUnit unit : {NameUnit::name, NameUnit::part}) {
    std::set<std::string> names;
    for (const VariableInfo* variable : unmatched) {
      for (const Spelling& s : spellings(variable->path, variable->module_type)) add_names(s.path, unit, names);
    }
    for (const std::string& pattern : patterns) {
      const std::string other = respelt(read_as_glob(pattern), unit, names);
      others.push_back(other == read_as_glob(pattern) ? kNothing : other);
    }
  }
  const PathMatcher matcher(others, PathMatcher::whole);
  std::vector<Missed> missed(others.size());
  for (const VariableInfo* variable : unmatched) {
    std::set<int> seen;
    for (const Spelling& s : spellings(variable->path, variable->module_type)) {
      for (const int id : matcher.match(forms_of(s.path, s.path))) {
        if (!seen.insert(id).second) continue;
        if (missed[id].paths++ == 0) missed[id].example = s.path;
      }
    }
  }
  std::vector<NearMiss> out;
  for (size_t i = 0; i < patterns.size(); ++i) {
    const size_t best = missed[i].paths > 0 ? i : i + patterns.size();
    if (missed[best].paths == 0) continue;
    out.push_back({patterns[i], missed[best].paths, missed[best].example, others[best], NearMiss::spelling});
  }
  return out;
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

std::vector<NearMiss> near_misses(const std::vector<std::string>& patterns, const std::vector<std::string>& unused,
                                  const std::vector<const VariableInfo*>& unmatched) {
  if (patterns.empty() || unmatched.empty()) return {};
  std::vector<std::string> globs, starts;
  for (const std::string& pattern : patterns) {
    const std::string glob = read_as_glob(pattern);
    globs.push_back(glob == pattern ? kNothing : glob);
    starts.push_back(".*(?:" + pattern + ")");
  }
  const PathMatcher as_glob(globs, PathMatcher::whole), as_start(starts, PathMatcher::whole),
      as_part(patterns, PathMatcher::part);
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
    const NearMiss::Kind kind = key.second == kGlob ? NearMiss::glob : NearMiss::part;
    out.push_back({pattern, one.paths, one.example, read_as(key.second, pattern), kind});
  }
  std::set<std::string> told;
  for (const NearMiss& miss : out) told.insert(miss.pattern);
  std::vector<std::string> left;
  std::copy_if(unused.begin(), unused.end(), std::back_inserter(left),
               [&](const std::string& pattern) { return told.count(pattern) == 0; });
  for (NearMiss& miss : misspelt(left, unmatched)) out.push_back(std::move(miss));
  return out;
}

}  // namespace weft
