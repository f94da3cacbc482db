#pragma once
// A world of processes over Gloo, made without Python and with nothing but torch's own library.
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <string>

#include "comm/world/timeouts.h"
#include "mesh/context.h"

namespace weft::comm {

/// The group of all `world_size` processes, of which each calls this once. They meet at `where`: "host:port" (rank 0
/// listens there), or the path of a file that all see and none has used before ("file:///path" or a path with a '/').
Group make_gloo_world(const std::string& where, int rank, int world_size,
                      std::chrono::milliseconds timeout = kDefaultTimeout);
/// They meet at a store that is there already.
Group make_gloo_world(const c10::intrusive_ptr<c10d::Store>& store, int rank, int world_size,
                      std::chrono::milliseconds timeout = kDefaultTimeout);

}  // namespace weft::comm
