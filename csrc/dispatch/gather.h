#pragma once
// What happens when an op has no rule: said once, or refused.
#include <cstdint>
#include <string>

namespace weft {

/// Whether an op that would have to gather its inputs is refused instead (process-wide).
bool strict();
void set_strict(bool strict);
/// Warns once per op and process that its inputs are gathered; raises under strict().
void warn_gather(const std::string& op, const std::string& reason, int64_t bytes);

}  // namespace weft
