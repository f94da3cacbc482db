#pragma once
// Codes of errors and warnings, one for each kind of mistake: the text that a user sees begins with "[W012] ". Most
// texts are written with theirs; `coded` is for those that hold the text of another error. Their table:
// error_table.cpp.
#include <c10/util/ArrayRef.h>

#include <string>
#include <string_view>

namespace weft {

struct ErrorKind {
  std::string_view code;
  std::string_view types;  // of exceptions, as Python calls them; "warning": never raised
  std::string_view title, cause, remedy;
};

/// Ascending by their codes.
c10::ArrayRef<ErrorKind> error_kinds();

/// The text with one code in front: the first that is in `text`, which says more than who passes it on, else `code`.
std::string coded(std::string_view code, const std::string& text);
/// Without the code that it begins with.
std::string without_code(const std::string& text);

}  // namespace weft
