#pragma once
// The one file that names Weft's dispatch key. PrivateUse3 is a backend bit without a device type of its own, so
// autograd, views, version counters and autocast of core run above it and a tensor keeps its real device.
#include <c10/core/DispatchKey.h>
#include <c10/core/DispatchKeySet.h>

namespace weft {

constexpr c10::DispatchKey kKey = c10::DispatchKey::PrivateUse3;
constexpr c10::DispatchKey kAutogradKey = c10::DispatchKey::AutogradPrivateUse3;

/// The dispatch key of calls that have tensors of that kind (Sparse, NestedTensor, …) beside sharded ones.
constexpr c10::DispatchKey mixed_key(c10::DispatchKey kind) {
  return c10::toRuntimePerBackendFunctionalityKey(kind, c10::toBackendComponent(kKey));
}

/// Beside kKey: the entries of a sparse tensor, of which each rank holds those of its rows, however many these are
/// (redistribute/sparse.h). Core keeps the key for libraries, and has no kernel on it: what is done with such a tensor
/// is asked for here first.
constexpr c10::DispatchKey kEntriesKey = c10::DispatchKey::DeferredInit;

}  // namespace weft

#define WEFT_KEY PrivateUse3
#define WEFT_AUTOGRAD_KEY AutogradPrivateUse3
