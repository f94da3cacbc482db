#include "paths/respelt.h"

#include <algorithm>
#include <vector>

namespace weft {
namespace {

constexpr size_t kShortest = 2, kLongest = 64;  // characters of a name that is compared
constexpr double kLike = 0.6;                   // of the characters, in both

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_of_name(char c, NameUnit unit) {
  return is_letter(c) || (c >= '0' && c <= '9') || (c == '_' && unit == NameUnit::name);
}
bool is_compared(std::string_view name) {
  return name.size() >= kShortest && name.size() <= kLongest && std::any_of(name.begin(), name.end(), is_letter);
}

// The part of their characters that both have in one order.
double likeness(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1, 0);
  for (const char c : a) {
    size_t diagonal = 0;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t above = row[j + 1];
      row[j + 1] = c == b[j] ? diagonal + 1 : std::max(above, row[j]);
      diagonal = above;
    }
  }
  return 2.0 * static_cast<double>(row.back()) / static_cast<double>(a.size() + b.size());
}

std::string likest(std::string_view name, const std::set<std::string>& names) {
  std::string best;
  double most = kLike;
  for (const std::string& other : names) {
    const double now = likeness(name, other);
    if (now > most || (best.empty() && now == most)) best = other, most = now;
  }
  return best;
}

// Where what begins at `at` of an expression ends, if it stands for something else than itself.
size_t past_syntax(std::string_view pattern, size_t at) {
  const auto past = [&](std::string_view ends) {
    const size_t end = pattern.find_first_of(ends, at + 1);
    return end == std::string_view::npos ? pattern.size() : end + 1;
  };
  if (pattern[at] == '\\') return std::min(at + 2, pattern.size());
  if (pattern[at] == '[') return past("]");
  if (pattern[at] == '{') return past("}");
  if (pattern.substr(at, 2) == "(?") return past(":>)");
  return at;
}

}  // namespace

void add_names(std::string_view path, NameUnit unit, std::set<std::string>& names) {
  for (size_t at = 0; at < path.size();) {
    size_t end = at;
    while (end < path.size() && is_of_name(path[end], unit)) ++end;
    if (const std::string_view name = path.substr(at, end - at); is_compared(name)) names.emplace(name);
    at = end + 1;
  }
}

std::string respelt(const std::string& pattern, NameUnit unit, const std::set<std::string>& names) {
  std::string out;
  for (size_t at = 0; at < pattern.size();) {
    size_t end = past_syntax(pattern, at);
    if (end == at) {
      while (end < pattern.size() && is_of_name(pattern[end], unit)) ++end;
      const std::string name = pattern.substr(at, end - at);
      const std::string other = is_compared(name) && names.count(name) == 0 ? likest(name, names) : "";
      if (!other.empty()) {
        out += other;
        at = end;
        continue;
      }
      end = std::max(end, at + 1);
    }
    out += pattern.substr(at, end - at);
    at = end;
  }
  return out;
}

}  // namespace weft
