// Reductions over dimensions.
#include "rules/registry.h"

namespace weft::rules {

RULES(reduction) {
  rule("sum", "... -> ;  sum ...;  linear 0");
  rule({"sum.dim_IntList", "nansum"}, "... -> ...-@dim;  sum @dim;  linear 0");
  rule("mean", "... -> ;  whole ... via mean;  linear 0");
  rule("mean.dim", "... -> ...-@dim;  whole @dim via mean;  linear 0");
  rule("amax", "... -> ...-@dim;  max @dim");
  rule("amin", "... -> ...-@dim;  min @dim");
  rule("max", "... -> ;  max ...");
  rule("min", "... -> ;  min ...");
  rule("prod", "... -> ;  product ...");
  rule("prod.dim_int", "... -> ...-@dim;  product @dim");
  rule({"any.dim", "any.dims", "all.dim", "all.dims"}, "... -> ...-@dim;  whole @dim");
  rule({"any", "all"}, "... -> ;  whole ...");
  rule({"max.dim", "min.dim", "median.dim", "nanmedian.dim", "mode", "kthvalue", "aminmax"},
       "... -> ...-@dim, ...-@dim;  whole @dim");
  rule({"argmax", "argmin"}, "... -> ...-@dim;  whole @dim");
  rule({"var.correction", "std.correction"}, "... -> ...-@dim;  whole @dim via variance");
  rule({"var_mean.correction", "std_mean.correction"}, "... -> ...-@dim, ...-@dim;  whole @dim");
  rule("logsumexp", "... -> ...-@dim;  whole @dim via logsumexp");
  rule({"cumsum", "cumprod", "logcumsumexp"}, "... -> ...;  whole @dim");
  rule({"cummax", "cummin"}, "... -> ..., ...;  whole @dim");
  rule({"sort", "sort.stable"}, "... -> ..., ...;  whole @dim");
  rule("topk", "... -> ...~@dim, ...~@dim;  whole @dim");
  rule({"equal", "_local_scalar_dense", "is_nonzero"}, "*... -> ;  whole ...");
}

}  // namespace weft::rules
