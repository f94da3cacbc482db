// What stands between the kernels of the dispatcher and a Handler: what is known of each op, and a call of one.
#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "comm/lockstep/guard.h"
#include "dispatch/call_identity.h"
#include "dispatch/handler.h"
#include "dispatch/how.h"
#include "gradient/gradient.h"
#include "rules/registry.h"

namespace weft {
namespace {

struct Known {
  std::unique_ptr<OpInfo> info;
  uint64_t version = 0;  // of the rules it was looked up in
};
struct OpInfos {
  std::mutex mutex;
  std::unordered_map<c10::OperatorName, Known> ops;
  std::vector<std::unique_ptr<OpInfo>> outdated;  // kept: calls may be using them, and old plans go by their addresses
};
OpInfos& op_infos() {
  static OpInfos* o = new OpInfos();
  return *o;
}

}  // namespace

const OpInfo& op_info(const c10::OperatorHandle& op) {
  const uint64_t version = rules::version().load(std::memory_order_acquire);
  OpInfos& o = op_infos();
  std::lock_guard<std::mutex> lock(o.mutex);
  Known& known = o.ops[op.operator_name()];
  if (known.info != nullptr && known.version != version && rules::find(known.info->short_name) != known.info->rules) {
    o.outdated.push_back(std::move(known.info));  // and planned anew: a plan's key has the address
  }
  known.version = version;
  if (known.info == nullptr) {
    known.info = std::make_unique<OpInfo>(op);
    known.info->special = special_of(*known.info);
  }
  return *known.info;
}

const OpInfo& KnownOp::info() {
  static const std::atomic<uint64_t>& rules_version = rules::version();
  const uint64_t version = rules_version.load(std::memory_order_acquire);
  OpInfo* info = info_.load(std::memory_order_acquire);
  if (C10_UNLIKELY(info == nullptr || version_.load(std::memory_order_relaxed) != version)) {
    info = const_cast<OpInfo*>(&op_info(handle_));
    info_.store(info, std::memory_order_release);
    version_.store(version, std::memory_order_release);
  }
  return *info;
}

void run_op(const OpInfo& op, torch::jit::Stack& stack, std::shared_ptr<const Plan> plan) {
  const c10::IValue* arguments = stack.data() + (stack.size() - op.arguments.size());
  const CallIdentity call = comm::guarded() ? identify(op, arguments) : CallIdentity();
  const RunningOp running(op.short_name.c_str(), call.identity, call.path, op.copies);
  if (op.special != nullptr) return run_special(op, stack);
  Handler(op, stack, std::move(plan)).run();
}

void run_special(const OpInfo& op, torch::jit::Stack& stack) {
  for (size_t i = stack.size() - op.arguments.size(); i < stack.size(); ++i) {
    if (stack[i].isTensor() && stack[i].toTensor().defined()) reduce_gradient_of_leaf(stack[i].toTensor());
  }
  op.special(op, stack);
}

}  // namespace weft
