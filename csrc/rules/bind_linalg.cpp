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

}  // namespace weft::rules
