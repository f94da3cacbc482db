#pragma once
// JSON read by nlohmann's parser into values that know where in the text they stand, for errors a user can follow.
#include <string>
#include <utility>
#include <vector>

namespace weft {

struct JsonValue {
  enum Kind { null, boolean, integer, real, string, array, object } kind = null;
  int64_t number = 0;                                      // integer, boolean
  std::string text;                                        // string
  std::vector<JsonValue> items;                            // array
  std::vector<std::pair<std::string, JsonValue>> members;  // object, in the text's order, all keys different
  size_t offset = 0;                                       // of the value's last (array, object: first) byte

  const JsonValue* member(const std::string& key) const;
  const char* kind_name() const;
};

struct JsonLimits {
  size_t bytes = 16 << 20;
  size_t depth = 16;
  size_t values = 1 << 20;
};

/// Raises ValueError "source:line:column: ..." for text that is no JSON, holds a NUL byte or a key twice in one object,
/// or is beyond the limits.
JsonValue parse_json(const std::string& text, const std::string& source, const JsonLimits& limits = {});

/// Raises ValueError "source:line:column: what".
[[noreturn]] void json_error(const std::string& text, const std::string& source, size_t offset,
                             const std::string& what);

}  // namespace weft
