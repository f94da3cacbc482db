#pragma once
// Ops on parts without memory: shapes alone are told, by compiled code where there is some.
#include <memory>

#include "local/local_call.h"
#include "rules/call.h"

namespace weft {

/// Over a simulated mesh how the op runs on meta tensors; null where core's own way is as good.
std::shared_ptr<const LocalCall> meta_call(const Call& call);

}  // namespace weft
