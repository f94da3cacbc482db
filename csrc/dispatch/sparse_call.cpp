// A call with sparse tensors: by a kernel of its own, value by value on the shards, or on the full tensors.
#include <optional>

#include "comm/lockstep/failure.h"
#include "comm/lockstep/guard.h"
#include "dispatch/boxed_call.h"
#include "dispatch/call_identity.h"
#include "dispatch/handler.h"
#include "dispatch/how.h"
#include "dispatch/sparse.h"
#include "dispatch/sparse_kinds.h"
#include "dispatch/special.h"
#include "plan/gather.h"
#include "redistribute/tensors.h"
#include "tensor/below_autograd.h"
#include "tensor/strided.h"

namespace weft {
namespace {

// An op that takes each value of one sparse tensor by itself, beside single values: on the shard.
bool run_on_values(BoxedCall& call) {
  if (call.op.results.size() != 1 || call.op.is_out) return false;
  if (!takes_values_one_by_one(call.op)) return false;
  std::optional<size_t> at;
  for (size_t i = 0; i < call.size(); ++i) {
    if (call.op.arguments[i].kind == OpInfo::Kind::tensor_list) return false;
    if (!call.has_tensor(i)) continue;
    if (has_pattern(call.tensor(i)) && !at) {
      at = i;
    } else if (call.tensor(i).dim() != 0 || is_coo(call.tensor(i))) {
      return false;
    }
  }
  if (!at) return false;
  at::Tensor sparse = call.tensor(*at);
  if (!call.op.writes && !adds_up(call.op.short_name)) sparse = coalesced(sparse);
  for (size_t i = 0; i < call.size(); ++i) {
    if (call.has_tensor(i) && is_dense_sharded(call.tensor(i))) call[i] = full_or_alias(call.tensor(i));
  }
  call[*at] = sharded(sparse).local();
  comm::run_local(call.op.short_name, [&] { call.op.handle.callBoxed(call.stack()); });
  if (call.op.writes) {
    sharded(sparse).wrote();
    call.stack().back() = sparse;
  } else if (is_coo(call.stack().back().toTensor())) {
    call.stack().back() = make_sparse(pattern_of(sparse), call.stack().back().toTensor()._values());
  }
  return true;
}

// Runs on the full tensors, on every rank.
void run_on_full(BoxedCall& call) {
  int64_t bytes = 0;
  for (size_t i = 0; i < call.size(); ++i) {
    if (!call[i].isTensor()) {
      if (call.op.arguments[i].kind == OpInfo::Kind::tensor_list) refuse_kind(call.op.short_name, "sparse");
      continue;
    }
    const at::Tensor t = call.tensor(i);
    if (is_dense_sharded(t) || (holds_shards(t) && call.op.arguments[i].written)) {
      refuse_kind(call.op.short_name, "sparse");
    }
    if (!holds_shards(t)) continue;
    bytes += bytes_to_gather(sharded(t).local()._values());
    call[i] = full_sparse(t);
  }
  warn_gather(call.op.short_name, "the op has no rule for sparse tensors", bytes);
  call.op.handle.callBoxed(call.stack());
}

}  // namespace

bool has_sparse_kernel(const c10::OperatorHandle& op) {
  if (op.hasKernelForDispatchKey(c10::DispatchKey::SparseCPU)) return true;
  const c10::OperatorName& name = op.operator_name();
  if (name.name.rfind("aten::", 0) != 0) return false;
  const std::string short_name = name.name.substr(6) + (name.overload_name.empty() ? "" : "." + name.overload_name);
  return has_rule_for_sparse(short_name);
}

void run_sparse(const c10::OperatorHandle& handle, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const OpInfo& op = op_info(handle);
  BoxedCall call(op, *stack);
  if (op.special == &run_add && is_dense_sharded(call.tensor(0)) && sharded(call.tensor(0)).takes_sum()) {
    const at::Tensor sum = call.tensor(0);
    become_sum(sum, call.tensor(1), call[2].toScalar());
    return call.finish(sum);
  }
  const CallIdentity identity = comm::guarded() ? identify(op, &call[0]) : CallIdentity();
  RunningOp running(op.short_name.c_str(), identity.identity, identity.path);
  for (size_t i = 0; i < call.size(); ++i) {
    if (!call.has_tensor(i) || !is_coo(call.tensor(i)) || has_pattern(call.tensor(i))) continue;
    running.add(mix(sample(call.tensor(i)._indices(), kOperandWords), sample(call.tensor(i)._values(), kOperandWords)));
  }
  const BelowAutograd guard;
  if (op.is_out) return run_out(op, *stack);
  if (const SparseKernel kernel = sparse_kernel_of(op.short_name)) return kernel(call);
  if (!run_on_values(call)) run_on_full(call);
}

}  // namespace weft
