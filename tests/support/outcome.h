#pragma once
// What a call comes to: its error, its time.
#include <c10/util/Exception.h>

#include <chrono>
#include <string>
#include <utility>

#include "base/error_codes.h"

namespace weft::test {

/// The text of the error that `call` raises, without its code; empty where it raises none. Errors of other classes go
/// through.
template <class Error = c10::ValueError, class F>
std::string error_of(F&& call) {
  try {
    std::forward<F>(call)();
  } catch (const Error& error) {
    return without_code(error.what_without_backtrace());
  }
  return {};
}

/// How long `call` takes.
template <class F>
double seconds(F&& call) {
  const auto start = std::chrono::steady_clock::now();
  std::forward<F>(call)();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace weft::test
