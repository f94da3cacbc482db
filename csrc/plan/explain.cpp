#include <c10/util/StringUtil.h>

#include "plan/plan.h"

namespace weft {

std::string explain(const Call& call, const Plan& plan) {
  std::string out = "[" + call.op.short_name + "]";
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (!t.defined) continue;
    out += c10::str(i == 0 ? " " : ", ", c10::IntArrayRef(t.geometry.sizes), " ", t.layout ? t.layout->str() : "plain");
    if (i < plan.inputs.size() && plan.inputs[i] != nullptr && plan.inputs[i] != t.layout) {
      out += " => " + plan.inputs[i]->str();
    }
  }
  if (plan.composite != nullptr) return out + " -> as other ops on the shards";
  out += " ->";
  for (size_t r = 0; r < plan.outputs.size(); ++r) {
    if (plan.outputs[r].layout != nullptr) out += (r == 0 ? " " : ", ") + plan.outputs[r].layout->str();
  }
  if (plan.gathered) out += " gathered (" + plan.reason + ")";
  for (const auto& r : plan.reductions) out += c10::str("; operand ", r.tensor, " reduced first to ", r.to->str());
  for (const auto& w : plan.write_backs) out += c10::str("; operand ", w.tensor, " written back from ", w.from->str());
  return out;
}

}  // namespace weft
