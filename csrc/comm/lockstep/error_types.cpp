#include "comm/lockstep/error_types.h"

#include <array>
#include <exception>
#include <utility>

namespace weft::comm {
namespace {

struct Type {
  const char* name;
  bool (*is)(const std::exception&);
  void (*raise)(std::string text);
};

template <class E>
constexpr Type type(const char* name) {
  return {name, [](const std::exception& e) { return dynamic_cast<const E*>(&e) != nullptr; },
          [](std::string text) { throw E({__func__, __FILE__, static_cast<uint32_t>(__LINE__)}, std::move(text)); }};
}

constexpr std::array kTypes = {
    type<c10::IndexError>("IndexError"),
    type<c10::ValueError>("ValueError"),
    type<c10::TypeError>("TypeError"),
    type<c10::NotImplementedError>("NotImplementedError"),
    type<c10::OutOfMemoryError>("OutOfMemoryError"),
    type<c10::LinAlgError>("LinAlgError"),
};

}  // namespace

std::string error_type(const c10::Error& error) {
  for (const Type& type : kTypes) {
    if (type.is(error)) return type.name;
  }
  return "";
}

void raise_error(const std::string& name, std::string text) {
  for (const Type& type : kTypes) {
    if (name == type.name) type.raise(std::move(text));
  }
  TORCH_CHECK(false, text);
}

}  // namespace weft::comm
