#pragma once
// Path patterns: regular expressions of RE2, many matched in one pass, in time linear in the path.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

/// Raises ValueError showing the pattern, what is wrong, where, and what to write instead.
void check_pattern(const std::string& pattern);

/// Patterns tried against a path in both of its forms, `a/b` and `a.b`. A pattern with a '/' and no literal dot speaks
/// of the first form, one with a literal dot and no '/' of the second, any other of both: else `[^/]*kernel`, meant for
/// the top level, would match all of `a.b.kernel`.
class PathMatcher {
 public:
  enum Mode { whole, part };
  /// Expressions that do not compile match nothing.
  PathMatcher(const std::vector<std::string>& patterns, Mode mode);
  ~PathMatcher();

  /// The forms of one path: slash and dot, and `given` as it came where it is neither (else empty).
  struct Forms {
    std::string slash, dot, given;
  };
  /// Indices of the patterns that match a form of the path, ascending. Safe on several threads.
  std::vector<int> match(const Forms& path) const;

 private:
  struct Set;
  std::unique_ptr<Set> slash_, dot_;
};

}  // namespace weft
