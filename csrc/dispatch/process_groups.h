#pragma once
// c10d's own collectives, called by the program on sharded tensors. Such a tensor is one value, which all ranks hold
// together and none alone: what brings one rank's value to the others, or combines equal values to the same, leaves it
// as it is; all else would count it once per rank, or make it differ between ranks, and is refused.
#include <string>

#include "rules/op_info.h"

namespace weft {

/// Whether the op communicates over a process group by itself.
bool is_collective(const OpInfo& op);
/// Why the op does not take the sharded tensor, and the ways out: the text of W066, without its code. An empty `why`:
/// as no rank has a value of its own to exchange.
std::string refusal_of_collective(const std::string& op, const at::Tensor& t, const std::string& why);
/// Runs one. Raises ValueError where it is none that leaves the value as it is, before anything is sent.
void run_collective(const OpInfo& op, std::vector<c10::IValue>& stack);

}  // namespace weft
