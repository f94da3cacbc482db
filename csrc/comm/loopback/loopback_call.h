#pragma once
// One rank's part in one collective of the loopback backend. Internal to comm/loopback.
#include <ATen/core/Tensor.h>
#include <torch/csrc/distributed/c10d/Types.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace weft::comm {

struct LoopbackCall {
  enum Kind { all_reduce, all_gather, reduce_scatter, all_to_all, broadcast } kind;
  at::Tensor input, output{};
  c10d::ReduceOp::RedOpType op = c10d::ReduceOp::SUM;
  int64_t root = 0;
  std::vector<int64_t> input_splits{}, output_splits{};

  /// "all_reduce sum of Float [2, 3]"
  std::string str() const;
};

/// Refuses what neither Gloo nor NCCL takes, so that tests on the loopback do not pass by its being more able.
void check_call(const LoopbackCall& call, int64_t ranks);

/// Whether two ranks' calls can be parts of one collective, as far as two of them can tell.
bool agree(const LoopbackCall& a, const LoopbackCall& b);

/// Why all ranks' calls together are no collective; empty where they are.
std::string disagreement(const std::vector<LoopbackCall>& calls);

/// Carries it out, reducing in rank order.
void carry_out(std::vector<LoopbackCall>& calls);

}  // namespace weft::comm
