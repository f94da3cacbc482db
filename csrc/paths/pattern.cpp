#include "paths/pattern.h"

#include <c10/util/Exception.h>
#include <re2/re2.h>
#include <re2/set.h>

#include <algorithm>
#include <mutex>

#include "base/quote.h"
#include "paths/near_misses.h"

namespace weft {
namespace {

constexpr size_t kMaxPatternBytes = 16 << 10;
constexpr int64_t kPatternMemory = 4 << 20;  // of one compiled pattern
constexpr size_t kGroupSize = 8;             // patterns that share an automaton
constexpr int64_t kSetMemory = 64 << 20;     // of all automata of a matcher, as far as the least of each allows
constexpr int64_t kMinGroupMemory = 512 << 10;
constexpr int64_t kMaxGroupMemory = 8 << 20;

RE2::Options options(int64_t memory) {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(memory);
  return options;
}

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> starts) {
  return std::any_of(starts.begin(), starts.end(), [&](std::string_view s) { return text.substr(0, s.size()) == s; });
}

// What to write instead of what RE2 does not have.
std::string advice(const RE2& re, const std::string& pattern, std::string_view from) {
  if (re.error_code() == RE2::ErrorRepeatArgument && read_as_glob(pattern) != pattern) {
    return ". It is a regular expression, in which any characters are '.*': write " + quote(read_as_glob(pattern));
  }
  if (starts_with_any(from, {"(?=", "(?!", "(?<=", "(?<!"})) {
    return ". Look-around is not supported, since matching takes time linear in the path; list what shall match "
           "instead, as in 'layers/[0-9]+/(q|k|v)_proj/weight', or give the exceptions keys of their own: an exact key "
           "wins over every pattern";
  }
  const bool numbered = from.size() > 1 && from[0] == '\\' && from[1] >= '1' && from[1] <= '9';
  if (numbered || starts_with_any(from, {"(?P=", "\\g", "\\k"})) {
    return ". Backreferences are not supported, since matching takes time linear in the path; spell the repeated part "
           "out, one key for each case";
  }
  if (starts_with_any(from, {"(?>", "++", "*+", "?+"})) {
    return ". Atomic groups and possessive repetitions are not supported and not needed: matching never backtracks";
  }
  if (starts_with_any(from, {"(?("})) return ". Conditional groups are not supported; write the cases as a|b";
  if (starts_with_any(from, {"(?#"})) return ". Comments are not supported inside a pattern";
  if (starts_with_any(from, {"(?<"})) return ". Write a named group as (?P<name>...)";
  if (starts_with_any(from, {"\\Z"})) return ". Leave it out: a pattern always has to match the whole path";
  if (re.error_code() == RE2::ErrorRepeatSize) return ". A repetition count can be 1000 at most";
  return "";
}

// Which of '/' and a literal dot the pattern holds.
struct Separators {
  bool slash = false, dot = false;
};
Separators separators(std::string_view pattern) {
  Separators found;
  bool in_class = false, quoting = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '/') found.slash = true;
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 'Q') quoting = true;
      if (next == 'E') quoting = false;
      found.slash |= next == '/';
      found.dot |= next == '.';
    } else if (c == '.') {
      found.dot |= in_class || quoting;
    } else if (!quoting && c == '[' && !in_class) {
      in_class = true;
      // A ']' right at the start of a class stands for itself.
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') ++i;
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') ++i;
    } else if (!quoting && c == ']') {
      in_class = false;
    }
  }
  return found;
}

}  // namespace

void check_pattern(const std::string& pattern) {
  TORCH_CHECK_VALUE(!pattern.empty(), "[W040] LayoutMap: an empty pattern matches no path");
  TORCH_CHECK_VALUE(pattern.size() <= kMaxPatternBytes, "[W040] LayoutMap: pattern ", quote(pattern, 100),
                    " is longer than ", kMaxPatternBytes, " bytes");
  const size_t nul = pattern.find('\0');
  TORCH_CHECK_VALUE(nul == std::string::npos, "[W040] LayoutMap: pattern ", quote(pattern),
                    " has a NUL byte at position ", nul, "; \\x00 stands for one");
  const RE2 re(pattern, options(kPatternMemory));
  if (re.ok()) return;
  // RE2 tells the offending part, not its place: given where there is no doubt.
  const std::string& part = re.error_arg();
  size_t at = part.empty() || part == pattern ? std::string::npos : pattern.find(part);
  // "(?P" starts a named group too, which is fine.
  while (part == "(?P" && at != std::string::npos && pattern.compare(at, 4, "(?P<") == 0)
    at = pattern.find(part, at + 1);
  const bool once = at != std::string::npos && pattern.find(part, at + 1) == std::string::npos;
  // error_arg may end before the character that tells look-behind from a named group.
  const std::string_view from = at == std::string::npos ? std::string_view(part) : std::string_view(pattern).substr(at);
  TORCH_CHECK_VALUE(false, "[W040] LayoutMap: pattern ", quote(pattern), " is not a valid expression",
                    once ? " at position " + std::to_string(at) : "", ": ", printable(re.error()),
                    advice(re, pattern, from));
}

// Several patterns in one pass over a path. One automaton for all of them would often have more states than fit its
// memory and be built anew for each path (300 patterns with three ".*" each: 30 times slower than groups of 8).
class PatternGroup {
 public:
  PatternGroup(std::vector<std::pair<std::string, int>> patterns, RE2::Anchor anchor, int64_t memory)
      : anchor_(anchor), patterns_(std::move(patterns)) {
    set_ = std::make_unique<RE2::Set>(options(memory), anchor);
    for (const auto& [pattern, id] : patterns_) {
      if (set_->Add(pattern, nullptr) >= 0) set_ids_.push_back(id);
    }
    if (!set_->Compile()) set_.reset();
  }

  void match(const std::string& path, std::vector<int>& out) const {
    std::vector<int> found;
    RE2::Set::ErrorInfo error{RE2::Set::kNoError};
    if (set_ == nullptr || (!set_->Match(path, &found, &error) && error.kind != RE2::Set::kNoError)) {
      return match_each(path, out);
    }
    for (int i : found) out.push_back(set_ids_[i]);
  }

 private:
  // Where the common automaton does not fit its memory.
  void match_each(const std::string& path, std::vector<int>& out) const {
    std::call_once(once_, [this] {
      for (const auto& [pattern, id] : patterns_)
        each_.push_back(std::make_unique<RE2>(pattern, options(kPatternMemory)));
    });
    for (size_t i = 0; i < each_.size(); ++i) {
      const bool matches = each_[i]->ok() && each_[i]->Match(path, 0, path.size(), anchor_, nullptr, 0);
      if (matches) out.push_back(patterns_[i].second);
    }
  }

  RE2::Anchor anchor_;
  std::vector<std::pair<std::string, int>> patterns_;  // with their ids
  std::unique_ptr<RE2::Set> set_;
  std::vector<int> set_ids_;
  mutable std::once_flag once_;
  mutable std::vector<std::unique_ptr<RE2>> each_;
};

struct PathMatcher::Set {
  void add(const std::string& pattern, int id) { patterns.emplace_back(pattern, id); }

  void compile(Mode mode) {
    const RE2::Anchor anchor = mode == whole ? RE2::ANCHOR_BOTH : RE2::UNANCHORED;
    const auto count = static_cast<int64_t>((patterns.size() + kGroupSize - 1) / kGroupSize);
    const int64_t memory = std::clamp(kSetMemory / std::max<int64_t>(count, 1), kMinGroupMemory, kMaxGroupMemory);
    for (size_t start = 0; start < patterns.size(); start += kGroupSize) {
      const auto begin = patterns.begin() + static_cast<std::ptrdiff_t>(start);
      const size_t length = std::min(kGroupSize, patterns.size() - start);
      groups.push_back(std::make_unique<PatternGroup>(
          std::vector<std::pair<std::string, int>>(begin, begin + static_cast<std::ptrdiff_t>(length)), anchor,
          memory));
    }
    patterns.clear();
  }

  void match(const std::string& path, std::vector<int>& out) const {
    for (const auto& group : groups) group->match(path, out);
  }

  std::vector<std::pair<std::string, int>> patterns;
  std::vector<std::unique_ptr<PatternGroup>> groups;
};

PathMatcher::PathMatcher(const std::vector<std::string>& patterns, Mode mode)
    : slash_(std::make_unique<Set>()), dot_(std::make_unique<Set>()) {
  for (size_t i = 0; i < patterns.size(); ++i) {
    const Separators has = separators(patterns[i]);
    if (has.slash || !has.dot) slash_->add(patterns[i], static_cast<int>(i));
    if (has.dot || !has.slash) dot_->add(patterns[i], static_cast<int>(i));
  }
  slash_->compile(mode);
  dot_->compile(mode);
}

PathMatcher::~PathMatcher() = default;

std::vector<int> PathMatcher::match(const Forms& path) const {
  std::vector<int> found;
  slash_->match(path.slash, found);
  dot_->match(path.dot, found);
  if (!path.given.empty()) {
    slash_->match(path.given, found);
    dot_->match(path.given, found);
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace weft
