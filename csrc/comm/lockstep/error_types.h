#pragma once
// Errors of one rank that others raise too: with the same type, which Python sees.
#include <c10/util/Exception.h>

#include <string>

namespace weft::comm {

/// The name of the error's type; empty: RuntimeError.
std::string error_type(const c10::Error& error);
/// Raises an error of the type of that name.
[[noreturn]] void raise_error(const std::string& name, std::string text);

}  // namespace weft::comm
