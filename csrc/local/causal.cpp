#include "local/causal.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <limits>

#include "comm/lockstep/failure.h"

namespace weft {

void CausalCall::run(const OpInfo& op, Mesh, std::vector<c10::IValue>& stack) const {
  comm::run_local(op.short_name, [&] { run_masked(op, stack); });
}

void CausalCall::run_masked(const OpInfo& op, std::vector<c10::IValue>& stack) const {
  const size_t base = stack.size() - op.arguments.size();
  auto at = [&](const char* name) -> c10::IValue& { return stack[base + op.argument(name)]; };
  constexpr int64_t kSequence = 2;
  const int64_t all = at("key").toTensor().size(kSequence), seen = std::min(queries_.end, all);
  for (const char* name : {"key", "value"}) at(name) = at(name).toTensor().narrow(kSequence, 0, seen);
  at::Tensor given = at("attn_mask").isTensor() ? at("attn_mask").toTensor() : at::Tensor();
  if (given.defined() && given.size(-1) == all) given = given.narrow(-1, 0, seen);
  // The op's own mask begins at the first query and the first key.
  if (queries_.begin > 0 || given.defined()) {
    const at::Tensor query = at("query").toTensor();
    at::Tensor mask = at::full({queries_.length(), seen}, -std::numeric_limits<double>::infinity(), query.options());
    mask = mask.triu(queries_.begin + 1);
    at("attn_mask") = given.defined() ? given + mask : mask;
    at("is_causal") = false;
  }
  op.handle.callBoxed(&stack);
  if (op.argument("grad_out") < 0 || seen == all) return;
  for (size_t r = stack.size() - 2; r < stack.size(); ++r) {
    const at::Tensor gradient = stack[r].toTensor();
    stack[r] = at::constant_pad_nd(gradient, {0, 0, 0, all - seen});
  }
}

}  // namespace weft
