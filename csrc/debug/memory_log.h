#pragma once
// The record of memory as core's allocators give and take it: of a CPU, and of the meta device, whose tensors have a
// size and no memory. So a program over a simulated mesh is counted as the real one is.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace weft {

struct MemoryRow {
  int64_t block = 0;                  // told apart from all that live at the same time
  int64_t bytes = 0;                  // negative: given back
  const std::string* op = nullptr;    // interned, of the op that took it; null: none
  const std::string* path = nullptr;  // interned, of the variable among that op's operands; null: none
};

/// Begins a record of what this thread takes on the CPU, and any thread on the meta device. Raises ValueError where one
/// is under way. torch.profiler's record of memory on this thread stands still meanwhile.
void memory_log_start();
/// Rows so far.
int64_t memory_log_length();
/// What was taken on the meta device from row `begin` on, and given back again, leaves it: kernels there need other
/// temporaries than real ones.
void memory_log_drop_temporaries(int64_t begin);
/// Ends it. Raises ValueError where none is under way.
std::vector<MemoryRow> memory_log_stop();
/// The block that a tensor's values, or its shard's, lie in, as the record names it; 0: none.
int64_t memory_block(const at::Tensor& tensor);

}  // namespace weft
