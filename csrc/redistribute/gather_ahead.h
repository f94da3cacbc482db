#pragma once
// Gathers of variables before they are needed. What a program gathered in one pass it will likely gather in the next,
// in that order: from the second pass on, what comes next is gathered while the program computes, many small ones in
// one collective. Where the program asks for something else, or the variable was written meanwhile, the gather is done
// when it is asked for, as in the first pass. All of it follows from program order, so every rank does it alike.
#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <weft/layout.h>

#include <atomic>
#include <cstdint>

namespace weft {

class ShardedTensorImpl;

/// How many bytes may be gathered, or on their way, before an op asks for them; 0: none. The same on all ranks.
constexpr int64_t kGatheredAhead = int64_t{256} << 20;  // at first
inline std::atomic<int64_t> gathered_ahead{kGatheredAhead};
/// Whether a variable that forward gathered stays so until backward has used it. The same on all ranks.
inline std::atomic<bool> gathered_kept{false};
/// What is gathered in one collective, in bytes: of a pass's first bucket, which nothing hides, and of others, where
/// the variables are small.
constexpr int64_t kFirstGatherBytes = int64_t{1} << 20, kGatherBytes = int64_t{4} << 20;
/// The shard of an op's operand in layout `to`, as redistribute_local gives it, its global sizes and strides given.
/// Nobody may write to it.
at::Tensor redistribute_operand(const ShardedTensorImpl& operand, c10::IntArrayRef sizes, c10::IntArrayRef strides,
                                Layout to);
/// What programs over simulated meshes gathered is not remembered any more, so that another one begins as a real one.
void forget_simulated_gathers();

}  // namespace weft
