// Reductions over dimensions.
#include "rules/bind_index.h"
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
  rule({"any.dim", "any.dims", "all.dim", "all.dims"}, "... -> ...-@dim;  whole @dim via any_all");
  rule({"any", "all", "_is_any_true", "_is_all_true"}, "... -> ;  whole ... via any_all");
  rule({"max.dim", "min.dim"}, "... -> ...-@dim, ...-@dim;  whole @dim via extreme");
  rule({"median.dim", "nanmedian.dim", "mode", "kthvalue"}, "... -> ...-@dim, ...-@dim;  whole @dim");
  rule("aminmax", "... -> ...-@dim, ...-@dim;  whole @dim");
  rule({"argmax", "argmin"}, "... -> ...-@dim;  whole @dim via arg_extreme");
  rule({"var.correction", "std.correction"}, "... -> ...-@dim;  whole @dim via variance");
  rule({"var_mean.correction", "std_mean.correction"}, "... -> ...-@dim, ...-@dim;  whole @dim via variance");
  rule("logsumexp", "... -> ...-@dim;  whole @dim via logsumexp");
  rule("cumsum", "... -> ...;  whole @dim;  linear 0");
  rule({"cumprod", "logcumsumexp"}, "... -> ...;  whole @dim");
  rule({"cummax", "cummin"}, "... -> ..., ...;  whole @dim");
  rule({"sort", "sort.stable"}, "... -> ..., ...;  whole @dim");
  rule("_fft_c2c", "... -> ...;  whole @dim;  linear 0");
  rule({"_fft_r2c", "_fft_c2r"}, "over one dimension: that stays whole, the others are free;  linear 0",
       &bind_real_fft);
  rule("linalg_cross", "..., ... -> ...;  whole @dim;  linear 0|1");
  rule("topk", "... -> ...~@dim, ...~@dim;  whole @dim");
  rule({"equal", "_local_scalar_dense", "is_nonzero"}, "*... -> ;  whole ...");
}

}  // namespace weft::rules
