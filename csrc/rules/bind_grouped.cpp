#include "rules/bind_grouped.h"

namespace weft::rules {

bool bind_grouped_mm(const Call& call, BoundRule& bound, std::string& why) {
  const TensorInfo &a = call.tensors[0], &b = call.tensors[1];
  if (call.tensor("bias") >= 0) return why = "it adds a bias", false;
  const bool a_groups = a.ndim() == 3, b_groups = b.ndim() == 3;
  // Its kernels want strides of whole 16 bytes: only such pieces are split.
  const int64_t piece = 16 / static_cast<int64_t>(c10::elementSize(a.dtype));
  auto split = [&](int64_t size, bool splittable) -> BoundRule::Dim {
    if (!splittable || size % piece != 0) return {bound.add_factor(size, false)};
    const int major = bound.add_factor(size / piece);
    return {major, bound.add_factor(piece, false)};
  };
  // Offsets cut the rows of a, the columns of b, or, between two plain matrices, what they are contracted over.
  const BoundRule::Dim m = split(a.geometry.sizes[a.ndim() - 2], a_groups || !b_groups);
  const BoundRule::Dim k = split(a.geometry.sizes[a.ndim() - 1], a_groups || b_groups);
  const BoundRule::Dim n = split(b.geometry.sizes[b.ndim() - 1], b_groups || !a_groups);
  const int64_t groups = call.results[0].geometry.sizes.size() == 3 ? call.results[0].geometry.sizes[0] : -1;
  const BoundRule::Dim g = {bound.add_factor(groups, a_groups && b_groups)};
  for (int f : k) bound.factors[f].reduction = Reduction::sum;

  bound.tensors.resize(call.tensors.size());
  for (size_t i = 0; i < bound.tensors.size(); ++i) {
    bound.tensors[i].operand = static_cast<int>(i);
    bound.tensors[i].dims.resize(call.tensors[i].geometry.sizes.size());  // offsets stay whole
  }
  bound.results.resize(1);
  bound.results[0].operand = 0;
  const bool result_groups = groups >= 0;
  auto place = [&](BoundRule::Tensor& t, bool grouped, const BoundRule::Dim& rows, const BoundRule::Dim& columns) {
    t.dims.clear();
    if (grouped) t.dims.push_back(g);
    t.dims.push_back(rows);
    t.dims.push_back(columns);
  };
  place(bound.tensors[0], a_groups, m, k);
  place(bound.tensors[1], b_groups, k, n);
  place(bound.results[0], result_groups, m, n);
  bound.pending.push_back({{0}, false});
  bound.pending.push_back({{1}, false});
  finish(call, bound);
  return true;
}

}  // namespace weft::rules
