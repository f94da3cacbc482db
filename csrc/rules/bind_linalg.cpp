#include "rules/bind_linalg.h"

#include <algorithm>

#include "rules/op_info.h"
#include "rules/rule.h"

namespace weft::rules {

bool bind_solve(const Call& call, BoundRule& bound, std::string& why) {
  static const std::string factors = ", ... 1 1, ... 1, ...;  free n;  unless check_errors";
  static const Rule vector = parse("... 1 1, ... 1 -> ... 1, ... 1 1, ... 1, ...;  unless check_errors"),
                    columns = parse("... 1 1, ... 1 n -> ... 1 n" + factors),
                    rows = parse("... 1 1, ... n 1 -> ... n 1" + factors);
  const Sizes &a = call.tensors[0].geometry.sizes, &b = call.tensors[1].geometry.sizes;
  // So core tells a batch of vectors from a matrix.
  const bool vectors = b.size() == 1 || (b.size() + 1 == a.size() && std::equal(b.begin(), b.end(), a.begin()));
  return bind(vectors ? vector : call.value("left")->toBool() ? columns : rows, call, bound, why);
}

bool bind_trilinear(const Call& call, BoundRule& bound, std::string& why) {
  constexpr int kOperands = 3;
  const auto list = [&](const std::string& name) { return call.value(name.c_str())->toIntVector(); };
  const int64_t total = call.tensors[0].ndim() + static_cast<int64_t>(list("expand1").size());
  const auto among = [&](const std::vector<int64_t>& dims, int64_t d) {
    return std::any_of(dims.begin(), dims.end(), [&](int64_t e) { return (e < 0 ? e + total : e) == d; });
  };
  const std::vector<int64_t> summed = list("sumdim");
  for (int64_t d = 0; d < total; ++d) {
    const int f = bound.add_factor(-1);
    if (among(summed, d)) bound.factors[f].reduction = Reduction::sum;
  }
  bound.tensors.resize(kOperands);
  for (int i = 0; i < kOperands; ++i) {
    const std::vector<int64_t> absent = list("expand" + std::to_string(i + 1));
    const Sizes& sizes = call.tensors[i].geometry.sizes;
    bound.tensors[i].operand = i;
    for (int64_t d = 0; d < total; ++d) {
      if (among(absent, d)) continue;
      const size_t own = bound.tensors[i].dims.size();
      if (own >= sizes.size()) return why = "its operands' dimensions do not go together", false;
      BoundRule::Factor& factor = bound.factors[d];
      if (factor.size < 0) factor.size = sizes[own];
      if (factor.size != sizes[own]) return why = "its operands' lengths do not go together", false;
      bound.tensors[i].dims.push_back({static_cast<int>(d)});
    }
    bound.pending.push_back({{i}, false});
  }
  bound.results.resize(1);
  bound.results[0].operand = 0;
  for (int64_t d = 0; d < total; ++d) {
    if (!among(summed, d)) bound.results[0].dims.push_back({static_cast<int>(d)});
  }
  finish(call, bound);
  return true;
}

}  // namespace weft::rules
