#pragma once
// Ranks as threads: what several processes would do, in one test and within a debugger's reach.
#include <weft/mesh.h>

#include <functional>
#include <string>
#include <vector>

#include "comm/loopback/loopback.h"

namespace weft::test {

/// A mesh of one axis.
inline Mesh line(int64_t n) { return DeviceMesh::get({n}, {"x"}); }

/// Runs `body(rank)` on `n` threads at once, each with a context of its own over a loopback world. Where any rank
/// throws, throws std::runtime_error with the text of each: "rank 1: ...\nrank 2: ...". Ends the whole test process,
/// with a message, where the ranks are not done after a minute.
void run_ranks(int n, const std::function<void(int rank)>& body, comm::LoopbackOptions options = {},
               const std::vector<comm::LoopbackFault>& faults = {});

/// The text of what `body` throws on each rank; empty where it does not.
std::vector<std::string> errors_of_ranks(int n, const std::function<void(int rank)>& body,
                                         comm::LoopbackOptions options = {},
                                         const std::vector<comm::LoopbackFault>& faults = {});

}  // namespace weft::test
