#include "plan/meta_call.h"

#include <ATen/record_function.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "comm/lockstep/failure.h"
#include "plan/meta_kernels.h"

namespace weft {
namespace {

using Stack = std::vector<c10::IValue>;

bool on_meta(const c10::IValue& v) {
  if (v.isTensor()) return !v.toTensor().defined() || v.toTensor().is_meta() || v.toTensor().dim() == 0;
  if (!v.isList()) return true;
  const auto items = v.toListRef();
  return std::all_of(items.begin(), items.end(), [](const c10::IValue& item) { return on_meta(item); });
}

// Tells who watches ops (torch.profiler, debug/compute_log.h), as the dispatcher does.
template <class Kernel>
void watched(const OpInfo& op, const Stack& arguments, Kernel&& kernel) {
  auto watchers = at::getStepCallbacksUnlessEmpty(at::RecordScope::FUNCTION);
  if (!watchers) return static_cast<void>(kernel());
  at::RecordFunction guard(std::move(*watchers));
  const at::RecordFunction::schema_ref_t schema(op.schema());
  guard.before(schema, c10::ArrayRef<const c10::IValue>(arguments.data(), arguments.size()));
  Stack results = kernel();
  if (guard.needsOutputs()) guard.setOutputs(std::move(results));
}

class MetaCall final : public LocalCall {
 public:
  void run(const OpInfo& op, Mesh mesh, Stack& stack) const override {
    comm::run_local(op.short_name, [&] {
      const auto begin = stack.end() - static_cast<int64_t>(op.arguments.size());
      if (!std::all_of(begin, stack.end(), [](const c10::IValue& v) { return on_meta(v); })) {
        op.handle.callBoxed(&stack);
        return;
      }
      const Stack arguments(begin, stack.end());
      stack.erase(begin, stack.end());
      watched(op, arguments, [&] {
        Stack results = arguments;
        if (op.writes) {
          results.clear();
          for (const OpInfo::Result& r : op.results) results.push_back(arguments[r.written_argument]);
        } else if (!run_compiled_meta(op.handle, results, mesh->device_type() == "cpu")) {
          op.handle.callBoxed(&results);
        }
        stack.insert(stack.end(), results.begin(), results.end());
        return results;
      });
    });
  }
};

}  // namespace

std::shared_ptr<const LocalCall> meta_call(const Call& call) {
  const OpInfo& op = call.op;
  if (!call.mesh->is_simulated() || op.is_view || op.is_out) return nullptr;
  const bool all_written = std::all_of(op.results.begin(), op.results.end(),
                                       [](const OpInfo::Result& r) { return r.written_argument >= 0; });
  if (op.writes && !all_written) return nullptr;
  static const auto shared = std::make_shared<const MetaCall>();
  return shared;
}

}  // namespace weft
