#pragma once
// What of a call's arguments its plan depends on, as words of the plan's key: first of all tensors, then of all values.
#include "plan/cache.h"
#include "rules/op_info.h"
#include "tensor/sharded.h"

namespace weft {

/// One tensor of the arguments. `element`: its place in a list; -1: none. `impl`: null for a plain one.
void push_operand(PlanKey& key, const OpInfo& op, int argument, int element, const at::Tensor& tensor,
                  const ShardedTensorImpl* impl);
/// A value that plans depend on (OpInfo::Argument::keyed).
void push_value(PlanKey& key, const c10::IValue& value);
/// The same of a list of ints.
void push_ints(PlanKey& key, c10::IntArrayRef values);

}  // namespace weft
