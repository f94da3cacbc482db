// What is done with the entries of a sparse tensor whose rows are split: a tensor [entries, …] of which each rank has
// as many as lie in its rows. Views of them are views of gathered ones, which have the key too and only the key:
// nothing may write to them, as it would not reach the sparse tensor.
#include <utility>
#include <vector>

#include "comm/lockstep/failure.h"
#include "comm/lockstep/guard.h"
#include "dispatch/boxed_call.h"
#include "dispatch/call_identity.h"
#include "dispatch/handler.h"
#include "dispatch/how.h"
#include "dispatch/sparse.h"
#include "redistribute/sparse.h"
#include "redistribute/tensors.h"
#include "tensor/below_autograd.h"

namespace weft {
namespace {

bool are_entries(const at::Tensor& t) { return holds_shards(t) && sharded(t).holds_entries(); }

// Runs on the entries that this rank has; false: not with these arguments.
bool run_on_held(BoxedCall& call) {
  if (!takes_entries_one_by_one(call.op)) return false;
  Pattern pattern;
  at::Tensor written, first;
  for (size_t i = 0; i < call.size(); ++i) {
    if (call.op.arguments[i].kind == OpInfo::Kind::tensor_list) return false;
    if (!call.has_tensor(i)) continue;
    const at::Tensor t = call.tensor(i);
    if (!are_entries(t)) {
      if (t.dim() > 0 || call.op.arguments[i].written) return false;
      continue;
    }
    const Pattern of_t = pattern_of(t);
    if (of_t == nullptr || (pattern != nullptr && !same_entries(pattern, of_t)) || t.requires_grad()) return false;
    pattern = of_t;
    if (call.op.arguments[i].written) written = t;
    if (!first.defined()) first = t;
  }
  const BelowAutograd guard;
  for (size_t i = 0; i < call.size(); ++i) {
    if (!call.has_tensor(i)) continue;
    const at::Tensor t = call.tensor(i);
    call[i] = are_entries(t) ? sharded(t).local() : full_or_alias(t);
  }
  comm::run_local(call.op.short_name, [&] { call.op.handle.callBoxed(call.stack()); });
  if (written.defined()) {
    written.unsafeGetTensorImpl()->bump_version();
    sharded(written).wrote();
    call.stack().back() = written;
    return true;
  }
  const ShardedTensorImpl& like = sharded(first);
  const at::Tensor result = make_sharded(call.stack().back().toTensor(), like.layout(), like.geometry());
  call.stack().back() = mark_entries(result, pattern);
  return true;
}

at::Tensor gathered_argument(const OpInfo& op, size_t argument, const at::Tensor& t) {
  if (!are_entries(t)) return t;
  TORCH_CHECK_NOT_IMPLEMENTED(
      !op.arguments[argument].written, "[W064] [", op.short_name,
      "] cannot write to a part of a sparse tensor's values, each rank of ", sharded(t).layout()->mesh()->str(),
      " holding those of its rows: do it to a copy, weft.full_tensor(values) on every rank, and "
      "make a sparse tensor of that");
  return gather_entries(t);
}

void forbid_writes(const c10::IValue& view) {
  if (view.isTensor() && holds_shards(view.toTensor())) sharded(view.toTensor()).hold_entries();
  if (!view.isTensorList()) return;
  for (const c10::IValue& item : view.toListRef()) forbid_writes(item);
}

// A list's entries with zeros, as many on each rank, that an op which goes through lists one by one may write to.
class PaddedLists {
 public:
  at::Tensor add(const OpInfo& op, size_t argument, const at::Tensor& t) {
    if (!are_entries(t) || pattern_of(t) == nullptr) return gathered_argument(op, argument, t);
    const at::Tensor padded = padded_entries(t);
    if (op.arguments[argument].written) written_.emplace_back(t, padded);
    return padded;
  }
  void write_back() {
    const BelowAutograd guard;
    for (const auto& [entries, padded] : written_) {
      const at::Tensor& local = sharded(entries).local();
      local.copy_(sharded(padded).local().narrow(0, 0, local.size(0)));
      sharded(entries).wrote();
    }
  }

 private:
  std::vector<std::pair<at::Tensor, at::Tensor>> written_;
};

}  // namespace

void run_entries(const c10::OperatorHandle& handle, c10::DispatchKeySet, torch::jit::Stack* stack) {
  if (is_made_of_others(handle)) {
    return handle.callBoxedForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd, *stack);
  }
  const OpInfo& op = op_info(handle);
  if (op.is_foreach && handle.hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutograd)) {
    return handle.callBoxedForDispatchKey(c10::DispatchKey::CompositeExplicitAutograd, *stack);
  }
  const c10::impl::ExcludeDispatchKeyGuard guard(kEntriesKey);
  if (leaves_entries_alone(op.short_name)) return handle.callBoxed(*stack);
  BoxedCall call(op, *stack);
  const CallIdentity identity = comm::guarded() ? identify(op, &call[0]) : CallIdentity();
  const RunningOp running(op.short_name.c_str(), identity.identity, identity.path);
  if (run_on_held(call)) return;
  PaddedLists lists;
  for (size_t i = 0; i < call.size(); ++i) {
    if (call.has_tensor(i)) {
      call[i] = gathered_argument(op, i, call.tensor(i));
    } else if (call[i].isTensorList()) {
      c10::List<at::Tensor> list;
      for (const c10::IValue& item : call[i].toListRef()) {
        list.push_back(op.is_foreach ? lists.add(op, i, item.toTensor()) : gathered_argument(op, i, item.toTensor()));
      }
      call[i] = list;
    }
  }
  handle.callBoxed(*stack);
  lists.write_back();
  if (op.is_view) forbid_writes(stack->back());
}

}  // namespace weft
