#pragma once
// One mesh axis: what it may do to an op (the candidates of a bound rule) and what each costs.
#include <vector>

#include "plan/plan.h"

namespace weft {

/// What one mesh axis does to a whole op: nothing, split a factor, or leave a reduction pending.
struct AxisChoice {
  enum Kind : uint8_t { replicate, split, pending } kind = replicate;
  int factor = -1;
  int64_t block = 0;
  Reduction reduction = Reduction::none;
  const rules::BoundRule::Pending* group = nullptr;
};

/// The state of a tensor before the op.
AxisState state_now(const TensorInfo& t, int axis);

/// The state of a tensor (or result) of the bound rule under a choice; nullopt-like `ok = false` where it has none.
struct ChoiceState {
  AxisState state;
  bool ok = true;
};
ChoiceState tensor_state(const rules::BoundRule& bound, int tensor, const AxisChoice& choice);
ChoiceState result_state(const rules::BoundRule& bound, int result, const AxisChoice& choice);

/// The factor that `axis` splits in a tensor laid out as `layout`: told by the splits' blocks where dimensions are
/// folded; -1: none.
int split_factor(const rules::BoundRule& bound, const rules::BoundRule::Tensor& t, Layout layout, int axis);

/// The cheapest choice for `axis`, given what other axes chose (`chosen`, its own entry not looked at), by the seconds
/// that moves take; of those that move nothing that strict mode refuses to move, where there are any.
/// Ties go, in this order, to: a reduction that stays pending where nothing else is read beside it, a split, everything
/// replicated, a reduction that stays pending.
AxisChoice choose(const Call& call, const rules::BoundRule& bound, int axis, const std::vector<AxisChoice>& chosen);

}  // namespace weft
