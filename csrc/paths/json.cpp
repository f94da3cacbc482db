#include "paths/json.h"

#include <c10/util/Exception.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <iterator>
#include <unordered_set>

#include "base/error_codes.h"
#include "base/quote.h"

namespace weft {
namespace {

// Tells the handler below how far the parser has read; nlohmann's own handlers get no positions.
struct TrackedIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  const char** reached;

  reference operator*() const { return *at; }
  TrackedIterator& operator++() {
    *reached = ++at;
    return *this;
  }
  TrackedIterator operator++(int) {
    TrackedIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const TrackedIterator& other) const { return at == other.at; }
  bool operator!=(const TrackedIterator& other) const { return at != other.at; }
};

class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(const std::string& text, const std::string& source, const JsonLimits& limits, const char* const* reached)
      : text_(text), source_(source), limits_(limits), reached_(reached) {}

  bool null() override { return add({}); }
  bool boolean(bool value) override { return add(number(JsonValue::boolean, value), 0); }
  bool number_integer(number_integer_t value) override { return add(number(JsonValue::integer, value), 1); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<number_unsigned_t>(INT64_MAX)) return add(number(JsonValue::real, 0), 1);
    return add(number(JsonValue::integer, static_cast<int64_t>(value)), 1);
  }
  bool number_float(number_float_t, const string_t&) override { return add(number(JsonValue::real, 0), 1); }
  bool string(string_t& value) override {
    JsonValue out;
    out.kind = JsonValue::string;
    out.text = std::move(value);
    return add(std::move(out));
  }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(JsonValue::object); }
  bool start_array(std::size_t) override { return open(JsonValue::array); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    if (!open_.back().keys.insert(value).second) fail(offset(0), "key " + quote(value) + " occurs twice");
    open_.back().key = std::move(value);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...": only the last part.
    std::string what = error.what();
    const size_t column = what.find("column ");
    const size_t colon = what.find(": ", column == std::string::npos ? 0 : column);
    if (colon != std::string::npos) what.erase(0, colon + 2);
    fail(position > 0 ? position - 1 : 0, printable(what));
  }

  JsonValue result;

 private:
  struct Open {
    JsonValue value;
    std::unordered_set<std::string> keys;
    std::string key;
  };

  static JsonValue number(JsonValue::Kind kind, int64_t value) {
    JsonValue out;
    out.kind = kind;
    out.number = value;
    return out;
  }

  // Where the token just read begins; a number is known to end only by the character after it.
  size_t offset(size_t beyond) const {
    const size_t reached = static_cast<size_t>(*reached_ - text_.data());
    return reached > beyond ? reached - beyond - 1 : 0;
  }

  [[noreturn]] void fail(size_t offset, const std::string& what) const { json_error(text_, source_, offset, what); }

  bool open(JsonValue::Kind kind) {
    if (open_.size() >= limits_.depth) {
      fail(offset(0), "nested more than " + std::to_string(limits_.depth) + " levels deep");
    }
    open_.emplace_back();
    open_.back().value.kind = kind;
    open_.back().value.offset = offset(0);
    return true;
  }

  bool close() {
    JsonValue value = std::move(open_.back().value);
    open_.pop_back();
    return place(std::move(value));
  }

  bool add(JsonValue value, size_t beyond = 0) {
    value.offset = offset(beyond);
    return place(std::move(value));
  }

  bool place(JsonValue value) {
    if (++values_ > limits_.values) fail(offset(0), "holds more than " + std::to_string(limits_.values) + " values");
    if (open_.empty()) {
      result = std::move(value);
    } else if (open_.back().value.kind == JsonValue::array) {
      open_.back().value.items.push_back(std::move(value));
    } else {
      open_.back().value.members.emplace_back(std::move(open_.back().key), std::move(value));
    }
    return true;
  }

  const std::string& text_;
  const std::string& source_;
  const JsonLimits& limits_;
  const char* const* reached_;
  std::vector<Open> open_;
  size_t values_ = 0;
};

}  // namespace

const JsonValue* JsonValue::member(const std::string& key) const {
  for (const auto& [name, value] : members) {
    if (name == key) return &value;
  }
  return nullptr;
}

const char* JsonValue::kind_name() const {
  constexpr const char* kNames[] = {"null", "a boolean", "an integer", "a number", "a string", "an array", "an object"};
  return kNames[kind];
}

void json_error(const std::string& text, const std::string& source, size_t offset, const std::string& what) {
  offset = std::min(offset, text.size());
  const auto begin = text.begin(), at = begin + static_cast<std::ptrdiff_t>(offset);
  const auto line = 1 + std::count(begin, at, '\n');
  const size_t newline = offset == 0 ? std::string::npos : text.rfind('\n', offset - 1);
  const size_t column = newline == std::string::npos ? offset + 1 : offset - newline;
  TORCH_CHECK_VALUE(false, coded("W045", c10::str(printable(source), ":", line, ":", column, ": ", what)));
}

JsonValue parse_json(const std::string& text, const std::string& source, const JsonLimits& limits) {
  TORCH_CHECK_VALUE(text.size() <= limits.bytes, "[W045] ", printable(source), ": ", text.size(),
                    " bytes are more than the ", limits.bytes, " that are read");
  // nlohmann takes a NUL byte for the end of the text.
  const size_t nul = text.find('\0');
  if (nul != std::string::npos) json_error(text, source, nul, "a NUL byte");
  const char* reached = text.data();
  Builder builder(text, source, limits, &reached);
  const char* end = text.data() + text.size();
  nlohmann::json::sax_parse(TrackedIterator{text.data(), &reached}, TrackedIterator{end, &reached}, &builder);
  return std::move(builder.result);
}

}  // namespace weft
