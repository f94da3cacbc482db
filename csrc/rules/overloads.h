#pragma once
// Overloads of one op that core writes separately.
#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>

namespace weft::rules {

/// The overload that returns what an out= or in-place variant writes, by its arguments; none where core has none.
std::optional<c10::OperatorHandle> functional_of(const c10::FunctionSchema& variant);

}  // namespace weft::rules
