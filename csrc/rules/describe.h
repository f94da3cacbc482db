#pragma once
// A rule bound to a call, told in full: what weft.check_rule splits by.
#include <ATen/core/dispatch/Dispatcher.h>

#include <map>
#include <string>

#include "rules/bound.h"

namespace weft::rules {

/// The same as bind(), with the factors' names; the batch factors are "...0", "...1", counted from the right.
bool bind_named(const Rule& rule, const Call& call, BoundRule& bound, std::string& why,
                std::map<std::string, int>& names);

/// The rule bound to plain arguments and results, as JSON: factors, what each dimension of each tensor holds, which
/// operands may be pending together, which arguments are lengths of factors. `text` empty: the op's own rules.
/// Raises ValueError where the text does not fit the op, where the op has no rule, or none binds.
std::string describe_bound(const c10::OperatorHandle& handle, const std::string& text,
                           const std::vector<c10::IValue>& arguments, const std::vector<c10::IValue>& results);

}  // namespace weft::rules
