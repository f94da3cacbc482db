// What each path got, and what a user would want to know about it.
#include <c10/util/Exception.h>
#include <weft/layout_map.h>

#include <algorithm>
#include <set>

#include "base/quote.h"
#include "layout/shard.h"
#include "paths/layout_map_state.h"
#include "paths/near_misses.h"
#include "paths/report_parts.h"

namespace weft {
namespace {

constexpr int64_t kLargeBytes = 1 << 20;

int64_t saturating_bytes(c10::IntArrayRef sizes, int64_t item_bytes) {
  int64_t bytes = item_bytes;
  for (int64_t size : sizes) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) return INT64_MAX;
  }
  return bytes;
}

// The lengths of dimension `d` over all ranks along its axes.
std::set<int64_t> part_lengths(Layout layout, int64_t d, int64_t size, bool& any_empty) {
  std::set<int64_t> lengths;
  Coordinates at(layout->mesh()->ndim(), 0);
  const std::vector<Split>& splits = layout->dim(d);
  while (true) {
    const int64_t length = local_size(layout, d, size, at);
    any_empty |= length == 0;
    lengths.insert(length);
    size_t i = 0;
    for (; i < splits.size(); ++i) {
      if (++at[splits[i].axis] < layout->mesh()->axis_size(splits[i].axis)) break;
      at[splits[i].axis] = 0;
    }
    if (i == splits.size()) return lengths;
  }
}

// Says which dimensions do not divide; empty where all do.
std::string uneven(Layout layout, const VariableInfo& variable) {
  std::string out;
  for (int64_t d = 0; d < layout->ndim(); ++d) {
    if (is_even(layout, d, variable.shape[d])) continue;
    std::string axes;
    for (const Split& split : layout->dim(d)) {
      axes += (axes.empty() ? "" : ", ") + layout->mesh()->axis_name(split.axis) + "=" +
              std::to_string(layout->mesh()->axis_size(split.axis));
    }
    bool any_empty = false;
    const std::set<int64_t> lengths = part_lengths(layout, d, variable.shape[d], any_empty);
    out += c10::str(out.empty() ? "" : "; ", "dimension ", d, " of ", variable.shape[d],
                    " does not divide evenly over (", axes, "): parts of ", *lengths.begin(), " to ", *lengths.rbegin(),
                    any_empty ? ", so some ranks hold nothing" : "");
  }
  return out;
}

bool names_an_output(const std::string& pattern) {
  return pattern.size() >= 6 && pattern.compare(pattern.size() - 6, 6, "output") == 0;
}

}  // namespace

int64_t bytes_of(const VariableInfo& variable) { return saturating_bytes(variable.shape, variable.item_bytes); }

int64_t saturating_sum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

bool is_large(const VariableInfo& variable, int64_t all_bytes) {
  const int64_t bytes = bytes_of(variable);
  return bytes >= kLargeBytes || (variable.shape.size() >= 2 && bytes >= all_bytes / 100 && bytes > 0);
}

const char* to_string(ReportNote::Kind kind) {
  constexpr const char* kNames[] = {"unused_rule", "unmatched_variable", "near_miss", "ambiguous", "invalid", "uneven"};
  return kNames[kind];
}

namespace {

// Rules that no variable has, large variables without one, and rules that seem to be meant for these.
void note_rules(const std::vector<LayoutRule>& rules, const std::set<std::string>& used,
                const std::vector<const VariableInfo*>& unmatched, PathReport& out) {
  std::vector<std::string> patterns, unused;
  for (const LayoutRule& rule : rules) {
    patterns.push_back(rule.pattern);
    if (rule.matches > 0 || used.count(rule.pattern) > 0) continue;
    unused.push_back(rule.pattern);
    out.notes.push_back(
        {ReportNote::unused_rule, rule.pattern,
         "rule " + quote(rule.pattern) +
             (names_an_output(rule.pattern) ? " has matched no layer's output yet" : " matches nothing")});
  }
  for (const VariableInfo* variable : unmatched) {
    if (!is_large(*variable, out.bytes)) continue;
    const int64_t bytes = bytes_of(*variable);
    out.notes.push_back({ReportNote::unmatched_variable, variable->path,
                         c10::str("variable ", quote(variable->path), " of ", bytes,
                                  " bytes is matched by no rule: every rank holds all of it")});
  }
  constexpr const char* kHow[] = {" matches, read as a shell pattern and not as an expression, ",
                                  " matches a part, but not the whole, of ", " has nearly the names of "};
  for (const NearMiss& miss : near_misses(patterns, unused, unmatched)) {
    out.notes.push_back(
        {ReportNote::near_miss, miss.pattern,
         c10::str("rule ", quote(miss.pattern), kHow[miss.kind], miss.paths, miss.paths == 1 ? " path" : " paths",
                  " that no rule matches, as ", quote(miss.example), "; ", quote(miss.instead), " would")});
  }
}

}  // namespace

PathReport report(const LayoutMap& map, const std::vector<VariableInfo>& variables) {
  const LayoutMap::State& state = *map.state_;
  PathReport out;
  out.mesh = map.mesh()->str();
  std::vector<const VariableInfo*> unmatched;
  std::set<std::string> used;
  std::vector<ReportNote> unevens;
  for (const VariableInfo& variable : variables) {
    PathRow row{variable.path, variable.shape, variable.item_bytes, "", "", 0, 0};
    row.bytes = bytes_of(variable);
    Layout layout = nullptr;
    const std::vector<LayoutMap::State::Hit> hits = state.hits(variable.path, variable.module_type);
    for (const auto& hit : hits) used.insert(hit.entry->pattern);
    if (hits.empty()) unmatched.push_back(&variable);
    try {
      if (const auto hit = state.find(variable.path, variable.module_type)) {
        row.pattern = hit->entry->pattern;
        layout = state.layout(LayoutMap::State::match(*hit), variable.path, variable.shape);
      }
    } catch (const c10::ValueError& error) {
      out.notes.push_back({hits.size() > 1 ? ReportNote::ambiguous : ReportNote::invalid, variable.path,
                           error.what_without_backtrace()});
    }
    if (variable.layout != nullptr && variable.layout->ndim() == static_cast<int64_t>(variable.shape.size())) {
      layout = variable.layout;
    }
    if (layout == nullptr) layout = TensorLayout::replicated(map.mesh(), static_cast<int64_t>(variable.shape.size()));
    row.layout = layout->str();
    // torch.chunk's first parts are its largest.
    const Coordinates first(layout->mesh()->ndim(), 0);
    row.bytes_per_rank = saturating_bytes(local_sizes(layout, variable.shape, first), variable.item_bytes);
    const std::string parts = uneven(layout, variable);
    if (!parts.empty()) {
      unevens.push_back({ReportNote::uneven, variable.path, "variable " + quote(variable.path) + ": " + parts});
    }
    out.bytes = saturating_sum(out.bytes, row.bytes);
    out.bytes_per_rank = saturating_sum(out.bytes_per_rank, row.bytes_per_rank);
    out.rows.push_back(std::move(row));
  }
  note_rules(map.rules(), used, unmatched, out);
  out.notes.insert(out.notes.end(), unevens.begin(), unevens.end());
  return out;
}

}  // namespace weft
