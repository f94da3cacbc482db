#include "paths/unheeded.h"

#include <c10/util/StringUtil.h>

#include <algorithm>

#include "base/quote.h"
#include "paths/near_misses.h"
#include "paths/report_parts.h"

namespace weft {
namespace {

constexpr size_t kShown = 8;  // of each kind

std::string others(size_t count) {
  return count > kShown ? c10::str("\n  and ", count - kShown, count == kShown + 1 ? " other" : " others") : "";
}

std::string unused_patterns(const LayoutMap& map, const std::vector<const VariableInfo*>& unmatched) {
  std::vector<std::string> unused;
  for (const LayoutRule& rule : map.rules()) {
    if (rule.matches == 0) unused.push_back(rule.pattern);
  }
  if (unused.empty()) return "";
  const std::vector<NearMiss> misses = near_misses(unused, unused, unmatched);
  std::string text = unused.size() == 1 ? "\na pattern matches no variable:"
                                        : c10::str("\n", unused.size(), " patterns match no variable:");
  for (size_t i = 0; i < std::min(unused.size(), kShown); ++i) {
    text += "\n  " + quote(unused[i]);
    const auto miss =
        std::find_if(misses.begin(), misses.end(), [&](const NearMiss& m) { return m.pattern == unused[i]; });
    if (miss == misses.end()) continue;
    text += c10::str("; ", quote(miss->instead), " would match ", quote(miss->example));
    if (miss->paths > 1) text += c10::str(" and ", miss->paths - 1, miss->paths == 2 ? " other" : " others");
  }
  return text + others(unused.size());
}

std::string large_variables(std::vector<const VariableInfo*> unmatched, int64_t all_bytes) {
  std::erase_if(unmatched, [&](const VariableInfo* v) { return !is_large(*v, all_bytes); });
  if (unmatched.empty()) return "";
  std::stable_sort(unmatched.begin(), unmatched.end(),
                   [](const VariableInfo* a, const VariableInfo* b) { return bytes_of(*a) > bytes_of(*b); });
  int64_t bytes = 0;
  for (const VariableInfo* v : unmatched) bytes = saturating_sum(bytes, bytes_of(*v));
  std::string text = c10::str("\nno pattern matches ", unmatched.size() == 1 ? "a large variable" : "large variables",
                              ", which every rank holds whole, ", human(bytes), " in all",
                              " (if that is meant: an entry with None for each dimension):");
  for (size_t i = 0; i < std::min(unmatched.size(), kShown); ++i) {
    text += c10::str("\n  ", printable(unmatched[i]->path), " ", shape_text(unmatched[i]->shape));
  }
  return text + others(unmatched.size());
}

}  // namespace

std::string unheeded(const LayoutMap& map, const std::vector<VariableInfo>& unmatched, int64_t all_bytes,
                     bool whole_is_meant) {
  if (map.size() == 0) return "";  // everything whole, as in data parallelism
  std::vector<const VariableInfo*> variables;
  for (const VariableInfo& v : unmatched) variables.push_back(&v);
  std::string text = unused_patterns(map, variables);
  if (map.mesh()->size() > 1 && !whole_is_meant) text += large_variables(std::move(variables), all_bytes);
  return text.empty() ? text : "[W047] distribute_module: the layout map does not fit the whole module:" + text;
}

}  // namespace weft
