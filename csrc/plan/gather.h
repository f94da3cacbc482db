#pragma once
// What happens when an op has no rule: said once, or refused.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace weft {

/// What it takes to have the full value on every rank; 0 where it is there.
int64_t bytes_to_gather(const at::Tensor& tensor);
/// Warns once per op and process that its inputs are gathered; raises under strict().
void warn_gather(const std::string& op, const std::string& reason, int64_t bytes);

/// An op whose inputs were gathered.
struct GatheredCall {
  std::string op, reason;
  int64_t bytes = 0;
};
/// Records them, every call anew, in place of warning of them.
void gather_log_start();
std::vector<GatheredCall> gather_log_stop();

}  // namespace weft
