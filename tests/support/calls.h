#pragma once
// Calls as the planner sees them, of ops on tensors that lie in given layouts; nothing is bound, no rank is there.
#include <ATen/core/dispatch/Dispatcher.h>
#include <weft/layout.h>

#include <string>
#include <utility>
#include <vector>

#include "plan/plan.h"
#include "rules/op_info.h"

namespace weft::testing {

/// An op and its arguments; `layouts`: of its tensors in order, lists flattened (null: plain).
struct PlannedCall {
  OpInfo op;
  std::vector<c10::IValue> arguments;
  Call call;

  PlannedCall(const std::string& name, const std::string& overload, std::vector<c10::IValue> args,
              const std::vector<Layout>& layouts, Mesh mesh)
      : op(c10::Dispatcher::singleton().findSchemaOrThrow(("aten::" + name).c_str(), overload.c_str())),
        arguments(std::move(args)),
        call{op, arguments, {}, {}, mesh} {
    for (size_t a = 0; a < op.arguments.size(); ++a) {
      if (op.arguments[a].kind == OpInfo::Kind::value) continue;
      if (op.arguments[a].kind == OpInfo::Kind::tensor_list) {
        int element = 0;
        for (const at::Tensor& t : arguments[a].toTensorVector()) add(a, element++, t, layouts);
      } else {
        add(a, -1, arguments[a].isTensor() ? arguments[a].toTensor() : at::Tensor(), layouts);
      }
    }
  }
  PlannedCall(const PlannedCall&) = delete;
  PlannedCall& operator=(const PlannedCall&) = delete;

  Plan plan(const std::vector<int64_t>& coordinates) { return make_plan(call, coordinates); }

 private:
  void add(size_t argument, int element, const at::Tensor& t, const std::vector<Layout>& layouts) {
    TensorInfo info;
    info.argument = static_cast<int>(argument);
    info.element = element;
    info.defined = t.defined();
    info.written = op.arguments[argument].written;
    if (t.defined()) {
      info.geometry = geometry_of(t);
      info.dtype = t.scalar_type();
    }
    if (call.tensors.size() < layouts.size()) info.layout = layouts[call.tensors.size()];
    call.tensors.push_back(info);
  }
};

}  // namespace weft::testing
