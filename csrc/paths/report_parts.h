#pragma once
// What the report and the warning of what a map left out have in common.
#include <weft/layout_map.h>

namespace weft {

int64_t bytes_of(const VariableInfo& variable);
int64_t saturating_sum(int64_t a, int64_t b);
/// Whether a variable that every rank holds whole is worth a word, in a module whose variables have `all_bytes`.
bool is_large(const VariableInfo& variable, int64_t all_bytes);

/// 1.5 MiB
std::string human(int64_t bytes);
/// [4, 32]
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace weft
