#include "base/error_codes.h"

#include <weft/errors.h>

#include <algorithm>
#include <cctype>

#include "base/quote.h"

namespace weft {
namespace {

constexpr size_t kCode = 4, kMark = kCode + 3;  // W012 and "[W012] "

bool is_code(std::string_view text) {
  return text.size() == kCode && text[0] == 'W' &&
         std::all_of(text.begin() + 1, text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// Where the first "[W012] " begins.
size_t find_mark(std::string_view text) {
  for (size_t at = text.find("[W"); at != std::string_view::npos; at = text.find("[W", at + 1)) {
    if (is_code(text.substr(at + 1, kCode)) && text.substr(at + 1 + kCode, 2) == "] ") return at;
  }
  return std::string_view::npos;
}

}  // namespace

std::string coded(std::string_view code, const std::string& text) {
  const size_t at = find_mark(text);
  if (at == std::string::npos) return "[" + std::string(code) + "] " + text;
  return text.substr(at, kMark) + text.substr(0, at) + text.substr(at + kMark);
}

std::string without_code(const std::string& text) { return find_mark(text) == 0 ? text.substr(kMark) : text; }

std::string explain_error(const std::string& message) {
  const size_t at = find_mark(message);
  const std::string_view code = at == std::string::npos ? message : std::string_view(message).substr(at + 1, kCode);
  for (const ErrorKind& kind : error_kinds()) {
    if (kind.code != code) continue;
    return c10::str(kind.code, " (", kind.types, "): ", kind.title, "\n\n", kind.cause,
                    "\n\nWhat to do: ", kind.remedy);
  }
  TORCH_CHECK_VALUE(false, "[W029] explain_error: ", quote(message), " is no code of an error of Weft's, such as W041");
}

}  // namespace weft
