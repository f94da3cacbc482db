#include "base/quote.h"

#include <c10/util/StringUtil.h>

#include <algorithm>

namespace weft {

size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xC2 && lead < 0xE0   ? 2
                        : lead >= 0xE0 && lead < 0xF0 ? 3
                        : lead >= 0xF0 && lead < 0xF5 ? 4
                                                      : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates and what lies beyond U+10FFFF.
  if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) || (lead == 0xF0 && byte(1) < 0x90) ||
      (lead == 0xF4 && byte(1) > 0x8F)) {
    return 0;
  }
  return length;
}

namespace {

constexpr size_t kListed = 20;

// Appends the first character of `text`, escaped; returns the bytes it took.
size_t append_character(std::string& out, std::string_view text) {
  constexpr const char* kHex = "0123456789abcdef";
  const auto c = static_cast<unsigned char>(text[0]);
  const size_t length = utf8_length(text);
  if (length == 0 || c < 0x20 || c == 0x7F) {
    out += {'\\', 'x', kHex[c >> 4], kHex[c & 15]};
    return 1;
  }
  out.append(text.substr(0, length));
  return length;
}

std::string shown(std::string_view text, size_t limit, const std::string& mark) {
  const size_t whole = text.size();
  std::string out = mark;
  while (!text.empty() && out.size() < limit + mark.size()) text.remove_prefix(append_character(out, text));
  if (text.empty()) return out + mark;
  return out + "…" + mark + " (" + std::to_string(whole) + " bytes)";
}

}  // namespace

bool is_printable(std::string_view text) {
  std::string out;
  for (std::string_view rest = text; !rest.empty();) rest.remove_prefix(append_character(out, rest));
  return out == text;
}

std::string printable(std::string_view text, size_t limit) { return shown(text, limit, ""); }

std::string quote(std::string_view text, size_t limit) { return shown(text, limit, "'"); }

std::vector<std::string> quote_all(const std::vector<std::string>& texts) {
  std::vector<std::string> quoted;
  for (const std::string& text : texts) quoted.push_back(quote(text));
  return quoted;
}

std::string listed(const std::vector<std::string>& texts) {
  if (texts.empty()) return "none";
  const size_t shown = std::min(texts.size(), kListed);
  std::string out = c10::Join(", ", std::vector<std::string>(texts.begin(), texts.begin() + shown));
  if (texts.size() > shown) out += c10::str(" and ", texts.size() - shown, " others");
  return out;
}

}  // namespace weft
