#pragma once

#include <c10/util/Exception.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/agree/check_same.h"

namespace weft::comm {

/// The value of `f`, which no rank may raise alone while the others wait in `check_same(…, what, mesh)`: its error goes
/// there in place of the words (and `mesh`, null: none). Where all ranks have the same error it is raised, else the
/// difference, on all.
template <class F>
auto agree_or_throw(const std::string& what, Mesh mesh, const F& f) {
  try {
    return f();
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    check_same(std::vector<int64_t>(text.begin(), text.end()), what, mesh);
    throw;
  }
}

}  // namespace weft::comm
