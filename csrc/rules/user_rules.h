#pragma once
// Rules that programs register.
#include <ATen/core/dispatch/Dispatcher.h>

#include <string>

namespace weft {

/// The op of that name ("mylib::op", "mylib::op.overload"; without a namespace one of aten). Raises ValueError where
/// there is none.
c10::OperatorHandle op_named(const std::string& name);

}  // namespace weft
