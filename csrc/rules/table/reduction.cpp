// Reductions over dimensions.
#include "rules/registry.h"

namespace weft::rules {

RULES(reduction, Family::supports_empty_shards) {
  rule("sum", "... -> ;  sum ...;  linear 0");
  rule("sum.dim_IntList", "... -> ...-@dim;  sum @dim;  linear 0");
  rule("nansum", "... -> ...-@dim;  sum @dim");
  rule({"count_nonzero", "count_nonzero.dim_IntList"}, "... -> ...-@dim;  sum @dim");
  rule("trace", "1 1 -> ;  linear 0");
  rule("mean", "... -> ;  whole ... via mean;  linear 0");
  rule("mean.dim", "... -> ...-@dim;  whole @dim via mean;  linear 0");
  rule("amax", "... -> ...-@dim;  max @dim");
  rule("amin", "... -> ...-@dim;  min @dim");
  rule({"max", "_foreach_max"}, "... -> ;  max ...");
  rule("min", "... -> ;  min ...");
  rule("prod", "... -> ;  product ...");
  rule("prod.dim_int", "... -> ...-@dim;  product @dim");
  rule({"any.dim", "any.dims"}, "... -> ...-@dim;  whole @dim via any");
  rule({"all.dim", "all.dims"}, "... -> ...-@dim;  whole @dim via all");
  rule({"any", "_is_any_true"}, "... -> ;  whole ... via any");
  rule({"all", "_is_all_true"}, "... -> ;  whole ... via all");
  rule("max.dim", "... -> ...-@dim, ...-@dim;  whole @dim via max");
  rule("min.dim", "... -> ...-@dim, ...-@dim;  whole @dim via min");
  rule({"median.dim", "nanmedian.dim", "mode", "kthvalue"}, "... -> ...-@dim, ...-@dim;  whole @dim");
  rule("aminmax", "... -> ...-@dim, ...-@dim;  whole @dim");
  rule("argmax", "... -> ...-@dim;  whole @dim via argmax");
  rule("argmin", "... -> ...-@dim;  whole @dim via argmin");
  rule("var.correction", "... -> ...-@dim;  whole @dim via variance");
  rule("std.correction", "... -> ...-@dim;  whole @dim via deviation");
  rule("var_mean.correction", "... -> ...-@dim, ...-@dim;  whole @dim via variance");
  rule("std_mean.correction", "... -> ...-@dim, ...-@dim;  whole @dim via deviation");
  rule("logsumexp", "... -> ...-@dim;  whole @dim via logsumexp");
  rule("cumsum", "... -> ...;  whole @dim via cumsum;  linear 0");
  rule("cumprod", "... -> ...;  whole @dim via cumprod");
  rule("logcumsumexp", "... -> ...;  whole @dim via logcumsumexp");
  rule({"cummax", "cummin"}, "... -> ..., ...;  whole @dim");
  rule({"sort", "sort.stable"}, "... -> ..., ...;  whole @dim");
  rule("_fft_c2c", "... -> ...;  whole @dim;  linear 0");
  rule({"_fft_r2c", "_fft_c2r"}, "... -> ...~@dim;  whole @dim;  linear 0");
  rule("linalg_cross", "..., ... -> ...;  whole @dim;  linear 0|1");
  rule("topk", "... -> ...~@dim, ...~@dim;  whole @dim");
  rule({"equal", "_local_scalar_dense", "is_nonzero"}, "*... -> ;  whole ...");
}

}  // namespace weft::rules
