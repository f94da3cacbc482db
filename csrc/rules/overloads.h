#pragma once
// Overloads of one op that core writes separately.
#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>
#include <string>

namespace weft::rules {

/// The overload that returns what an out= or in-place variant writes, by its arguments; none where core has none.
std::optional<c10::OperatorHandle> functional_of(const c10::FunctionSchema& variant);

/// The view op that `name` (without overload) is a copying or unchecked variant of, as in permute_copy and
/// unsafe_split; any other name as it is.
std::string view_of(std::string name);

}  // namespace weft::rules
