#include "plan/direct.h"

#include <vector>

namespace weft {
namespace {

// Whether both give each rank the same part: they differ at most in what axes of one rank do.
bool same_shards(Layout a, Layout b) {
  if (a == b) return true;
  if (a == nullptr || b == nullptr || a->ndim() != b->ndim() || a->partial() != b->partial()) return false;
  const auto splits = [&](Layout layout, int64_t d) {
    std::vector<Split> found = layout->dim(d);
    std::erase_if(found, [&](const Split& s) { return layout->mesh()->axis_size(s.axis) == 1; });
    return found;
  };
  for (int64_t d = 0; d < a->ndim(); ++d) {
    if (splits(a, d) != splits(b, d)) return false;
  }
  return true;
}

}  // namespace

bool runs_directly(const Call& call, const Plan& plan) {
  if (call.mesh->is_simulated() || plan.gathered || plan.local != nullptr || plan.composite != nullptr) return false;
  if (!plan.shapes.empty() || !plan.write_backs.empty() || !plan.reductions.empty()) return false;
  if (call.op.is_view ? call.tensors.size() != 1 : !plan.patches.empty()) return false;
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const Layout now = call.tensors[i].layout, wanted = plan.inputs[i];
    if (wanted == nullptr || wanted == now) continue;
    if (now == nullptr) {
      if (!wanted->is_replicated()) return false;
    } else if (call.tensors[i].written || call.op.is_view || !same_shards(now, wanted)) {
      return false;  // what is written elsewhere than in its own layout is brought back
    }
  }
  return true;
}

}  // namespace weft
