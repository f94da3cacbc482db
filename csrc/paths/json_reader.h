#pragma once
// Parts of a JSON text; each complaint names the place.
#include <string>

#include "paths/json.h"

namespace weft {

struct JsonReader {
  const std::string& text;
  const std::string& source;

  [[noreturn]] void fail(const JsonValue& at, const std::string& what) const {
    json_error(text, source, at.offset, what);
  }
  const JsonValue& expect(const JsonValue& value, const std::string& what, JsonValue::Kind kind) const {
    JsonValue wanted;
    wanted.kind = kind;
    if (value.kind != kind) fail(value, what + " must be " + wanted.kind_name() + ", not " + value.kind_name());
    return value;
  }
  const JsonValue& need(const JsonValue& object, const char* key, JsonValue::Kind kind) const {
    const JsonValue* value = object.member(key);
    if (value == nullptr) fail(object, std::string("\"") + key + "\" is missing");
    return expect(*value, std::string("\"") + key + "\"", kind);
  }
  int64_t count(const JsonValue& value, const std::string& what) const {
    expect(value, what, JsonValue::integer);
    if (value.number < 0) fail(value, what + " must not be negative");
    return value.number;
  }
};

}  // namespace weft
