#pragma once
#include <torch/csrc/distributed/c10d/Backend.hpp>

namespace c10d {
class ProcessGroupGloo;
}

namespace weft::comm {

/// The backend as c10d's Gloo, also where TORCH_DISTRIBUTED_DEBUG=DETAIL put another one around it; null: it is not
/// that. Lives as long as the backend.
c10d::ProcessGroupGloo* as_gloo(c10d::Backend& backend);

}  // namespace weft::comm
