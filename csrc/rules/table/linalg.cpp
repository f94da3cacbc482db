// Factorizations and solvers: matrices stay whole, batches of them are free, and so are the columns that are solved
// for. Those that may raise for the values of one matrix (eigh, svd, solve) are not here: all ranks must raise alike.
#include "rules/registry.h"

namespace weft::rules {

RULES(linalg) {
  // Of nothing its backward gives back a gradient of another shape.
  rule("_cdist_forward", "... p m, ... r m -> ... p r;  whole m");
  rule("_cdist_backward", "... p r, ... p m, ... r m, ... p r -> ... p m;  sum r;  whole m;  linear 0");
  rule({"linalg_inv_ex", "linalg_cholesky_ex"}, "... 1 1 -> ... 1 1, ...;  unless check_errors");
  rule({"linalg_lu_factor_ex", "linalg_ldl_factor_ex"}, "... 1 1 -> ... 1 1, ... 1, ...;  unless check_errors");
  rule("_linalg_det", "... 1 1 -> ..., ... 1 1, ... 1");
  rule("_linalg_slogdet", "... 1 1 -> ..., ..., ... 1 1, ... 1");
  rule("linalg_qr", "... 1 1 -> ... 1 1, ... 1 1");
  rule("geqrf", "... 1 1 -> ... 1 1, ... 1");
  rule("linalg_householder_product", "... 1 1, ... 1 -> ... 1 1");
  rule("linalg_lu", "... 1 1 -> ... 1 1, ... 1 1, ... 1 1");
  rule("lu_unpack", "... 1 1, ... 1 -> ... 1 1, ... 1 1, ... 1 1");
  rule("linalg_matrix_exp", "... 1 1 -> ... 1 1");
  rule("linalg_solve_triangular", "... 1 1, ... 1 n -> ... 1 n;  linear 1;  when left");
  rule("linalg_solve_triangular", "... 1 1, ... n 1 -> ... n 1;  linear 1;  unless left");
  rule("linalg_lu_solve", "... 1 1, ... 1, ... 1 n -> ... 1 n;  linear 2;  when left");
  rule("linalg_lu_solve", "... 1 1, ... 1, ... n 1 -> ... n 1;  linear 2;  unless left");
  rule("linalg_ldl_solve", "... 1 1, ... 1, ... 1 n -> ... 1 n;  linear 2");
  rule("cholesky_solve", "... 1 n, ... 1 1 -> ... 1 n;  linear 0");
}

}  // namespace weft::rules
