#pragma once
// What of a call's arguments its plan depends on, as words of the plan's key: first of all tensors, then of all values.
#include "plan/cache.h"
#include "plan/strict.h"
#include "rules/op_info.h"
#include "tensor/sharded.h"

namespace weft {

/// Whether strict mode refuses to lay the operand out anew. `impl`: null for a plain one.
inline bool has_to_stay(const ShardedTensorImpl* impl) {
  return C10_UNLIKELY(watches_relayouts()) && impl != nullptr && refuses_relayout(impl->path());
}
/// One tensor of the arguments. `element`: its place in a list; -1: none. `stays`: plans of strict mode are others.
void push_operand(PlanKey& key, const OpInfo& op, int argument, int element, const at::Tensor& tensor,
                  const ShardedTensorImpl* impl, bool stays);
/// A value that plans depend on (OpInfo::Argument::keyed).
void push_value(PlanKey& key, const c10::IValue& value);
/// The same of a list of ints.
void push_ints(PlanKey& key, c10::IntArrayRef values);

}  // namespace weft
