// Contractions.
#include "rules/bind_grouped.h"
#include "rules/bind_linalg.h"
#include "rules/registry.h"

namespace weft::rules {

RULES(matmul, Family::supports_empty_shards) {
  rule({"mm", "mm.dtype", "_foreach_mm"}, "m k, k n -> m n;  sum k;  linear 0|1");
  rule({"bmm", "bmm.dtype"}, "b m k, b k n -> b m n;  sum k;  linear 0|1");
  rule("mv", "m k, k -> m;  sum k;  linear 0|1");
  rule({"dot", "vdot"}, "k, k -> ;  sum k;  linear 0|1");
  // The first operand is added once: beside a pending product it is pending too.
  rule({"addmm", "addmm.dtype"}, "+m n, m k, k n -> m n;  sum k;  linear 1|2");
  rule({"baddbmm", "baddbmm.dtype"}, "+b m n, b m k, b k n -> b m n;  sum k;  linear 1|2");
  rule("addbmm", "+m n, b m k, b k n -> m n;  sum b;  sum k;  linear 1|2");
  rule("addmv", "+m, m k, k -> m;  sum k;  linear 1|2");
  rule("_grouped_mm", "(g) m k, (g) k n -> (g) m n: what offsets cut stays whole;  sum k;  linear 0|1",
       &bind_grouped_mm);
  rule("_trilinear",
       "a factor for each dimension of all, of which each operand lacks some;  sum @sumdim;  linear 0|1|2",
       &bind_trilinear);
  rule("addr", "+m n, m, n -> m n;  linear 1|2");
}

}  // namespace weft::rules
