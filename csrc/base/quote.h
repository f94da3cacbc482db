#pragma once
// Users' strings in messages: printable, on one line, of bounded length.
#include <string>
#include <string_view>
#include <vector>

namespace weft {

constexpr size_t kShownBytes = 300;

/// In single quotes; control characters and bytes that are not UTF-8 as \xNN; cut after `limit` bytes, saying how long
/// the whole is.
std::string quote(std::string_view text, size_t limit = kShownBytes);
std::vector<std::string> quote_all(const std::vector<std::string>& texts);
/// "a, b and 3 others"; "none" of none.
std::string listed(const std::vector<std::string>& texts);
/// `quote` without quotes.
std::string printable(std::string_view text, size_t limit = kShownBytes);
/// Whether no character of it needs an escape.
bool is_printable(std::string_view text);
/// Length in bytes of the UTF-8 sequence at the start of `text`; 0 where there is none.
size_t utf8_length(std::string_view text);

}  // namespace weft
