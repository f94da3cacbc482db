#pragma once
// The one file that names Weft's dispatch key. PrivateUse3 is a backend bit without a device type of its own, so
// autograd, views, version counters and autocast of core run above it and a tensor keeps its real device.
#include <c10/core/DispatchKey.h>
#include <c10/core/DispatchKeySet.h>

namespace weft {

constexpr c10::DispatchKey kKey = c10::DispatchKey::PrivateUse3;
constexpr c10::DispatchKey kAutogradKey = c10::DispatchKey::AutogradPrivateUse3;

}  // namespace weft

#define WEFT_KEY PrivateUse3
#define WEFT_AUTOGRAD_KEY AutogradPrivateUse3
