#pragma once
// What the ranks tell each other by the world's store may end because its keeper does.
#include <c10/util/Exception.h>

#include <string>

namespace weft::checkpoint {

/// What `call` returns. In place of c10d's own error, which names a socket alone, one with a code that says what does
/// not answer, in the midst of `what`.
template <class Call>
auto by_store(const std::string& what, Call call) {
  try {
    return call();
  } catch (const c10::DistError& error) {
    TORCH_CHECK(
        false, "[W097] ", what,
        ": the ranks' store does not answer. The process that keeps it (rank 0 or torchrun) has ended or is not "
        "reached: look at its output, and start again from the last checkpoint (",
        error.what_without_backtrace(), ")");
  }
}

}  // namespace weft::checkpoint
