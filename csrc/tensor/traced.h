#pragma once
// Parts that a compiler records ops on: fake or functional tensors, which Python sees before any kernel. A sharded
// tensor of such a part is asked for in two ways. Programs hold it as the Python type `Traced`, which steps aside for
// Weft's kernel and lets the compiler see what that calls on the parts. What the engine makes for itself has no Python
// type, and no compiler may see it as if it were plain: it has one more dispatch key, above Python.
#include <ATen/core/Tensor.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace weft {

/// Core has no kernel on it.
constexpr c10::DispatchKey kEngineKey = c10::DispatchKey::TESTING_ONLY_GenericWrapper;

/// Whether a compiler, or another library of Python's, sees ops on that plain tensor or part.
inline bool is_traced(const at::Tensor& part) {
  return part.unsafeGetTensorImpl()->key_set().has(c10::DispatchKey::Python);
}

/// While it lives, compilers do not see what this thread calls: what is asked for to plan an op is no part of it.
class Unseen {
  c10::impl::ExcludeDispatchKeyGuard guard_{c10::DispatchKeySet(
      {c10::DispatchKey::Python, c10::DispatchKey::PythonTLSSnapshot, c10::DispatchKey::PythonDispatcher})};
};

/// For a rank that takes nothing of a collective's result `value` where others do, into `target`: a recorded program
/// leaves out collectives whose results nobody uses, and must not on some ranks alone.
void take_nothing(const at::Tensor& target, const at::Tensor& value);

/// The same where a rank goes on with `number` in place of the value's elements.
at::Tensor filled_like(const at::Tensor& value, int64_t number);

/// A sharded tensor of traced parts as programs hold it; any other one as it is.
at::Tensor for_program(const at::Tensor& sharded);

}  // namespace weft
