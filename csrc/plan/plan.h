#pragma once
// A plan: everything about running one op on shards that does not depend on values. Made from a Call (layouts, global
// shapes, arguments), the same on all ranks but for the local sizes in it.
#include <weft/layout.h>

#include <memory>
#include <string>
#include <vector>

#include "local/local_call.h"
#include "plan/local_view.h"
#include "rules/bound.h"
#include "rules/op_info.h"

namespace weft {

struct Plan {
  /// Per tensor of the call: the layout it is brought to; null: used as it is (plain, absent, or only its shape read).
  std::vector<Layout> inputs;
  std::vector<int> shapes;  // tensors of which the shape alone is read: where they change layout, any values do
  /// Arguments that take other values on the shard (sizes of view, expand, new_zeros, ...).
  struct Patch {
    int argument;
    c10::IValue value;
  };
  std::vector<Patch> patches;
  struct Output {
    Layout layout = nullptr;
    Geometry geometry;
    bool defined = true;
  };
  /// Per result, lists flattened, without those that are written arguments. Empty for a gathered op whose results'
  /// shapes the run tells: they are replicated; others are cut to their layouts. A composite tells its results' layouts
  /// itself.
  std::vector<Output> outputs;
  /// A written tensor whose result arrives in another layout than its own: brought back and copied.
  struct WriteBack {
    int tensor;
    Layout from;
  };
  std::vector<WriteBack> write_backs;
  /// Pending reductions that the op needs carried out (all of those it reads as values): done once, for all aliases.
  struct Reduce {
    int tensor;
    Layout to;  // as it is, less the reductions
  };
  std::vector<Reduce> reductions;
  std::shared_ptr<const LocalCall> local;  // null: the op on the local arguments
  rules::Composite composite = nullptr;    // runs instead, on the tensors as they are
  bool gathered = false;                   // no rule: inputs replicated
  int64_t gathered_bytes = 0;              // that had to be gathered because of it, per rank
  std::string reason;                      // gathered: why
  LocalView local_view;                    // of a view op with one operand and one result
  bool direct = false;                     // nothing but the op on the shards as they are, with its own arguments
};

/// The plan of a call for the rank at `coordinates`. Raises where no plan exists.
Plan make_plan(Call& call, c10::IntArrayRef coordinates);

/// One line: the op, its tensors' layouts and where they change, the results' layouts.
std::string explain(const Call& call, const Plan& plan);

/// Fills call.results from the arguments by running the op on meta tensors; false where core cannot (results depend on
/// values, or the op has no meta kernel).
bool infer_results(Call& call);

/// The choice of a rule and of what each mesh axis does; false where no rule binds, the reason in plan.reason.
bool plan_by_rule(const Call& call, c10::IntArrayRef coordinates, Plan& plan);

}  // namespace weft
