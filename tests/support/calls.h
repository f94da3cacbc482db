#pragma once
// Calls as the planner sees them, of ops on tensors that lie in given layouts; nothing is bound, no rank is there.
#include <ATen/core/dispatch/Dispatcher.h>
#include <weft/layout.h>

#include <algorithm>
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
        call(Call::of(op, arguments)) {
    call.mesh = mesh;
    for (size_t i = 0; i < std::min(layouts.size(), call.tensors.size()); ++i) call.tensors[i].layout = layouts[i];
  }
  PlannedCall(const PlannedCall&) = delete;
  PlannedCall& operator=(const PlannedCall&) = delete;

  Plan plan(const std::vector<int64_t>& coordinates) { return make_plan(call, coordinates); }
};

}  // namespace weft::testing
