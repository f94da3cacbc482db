// Factorizations and solvers: matrices stay whole, batches of them are free, and so are the columns that are solved
// for. Where one matrix's values make a kernel raise on the rank that has it, the others are told.
#include "rules/bind_linalg.h"
#include "rules/registry.h"

namespace weft::rules {

RULES(linalg) {
  // Where there are no elements its backward gives back a gradient of another shape.
  rule("_cdist_forward", "... p m, ... r m -> ... p r;  whole m");
  rule("_euclidean_dist", "... p m, ... r m -> ... p r;  whole m");
  rule("_cdist_backward", "... p r, ... p m, ... r m, ... p r -> ... p m;  sum r;  whole m;  linear 0");
  rule({"linalg_inv_ex", "linalg_cholesky_ex"}, "... 1 1 -> ... 1 1, ...;  unless check_errors");
  rule({"linalg_lu_factor_ex", "linalg_ldl_factor_ex"}, "... 1 1 -> ... 1 1, ... 1, ...;  unless check_errors");
  rule("_linalg_check_errors", "... -> ;  whole ...");  // every rank raises for what any has
  rule("_linalg_det", "... 1 1 -> ..., ... 1 1, ... 1");
  rule("_linalg_slogdet", "... 1 1 -> ..., ..., ... 1 1, ... 1");
  rule("_linalg_svd", "... 1 1 -> ... 1 1, ... 1, ... 1 1;  when compute_uv");
  rule("_linalg_svd", "... 1 1 -> 1, ... 1, 1;  free ...;  unless compute_uv");
  rule("_linalg_eigh", "... 1 1 -> ... 1, ... 1 1;  when compute_v");
  rule("_linalg_eigh", "... 1 1 -> ... 1, 1;  free ...;  unless compute_v");
  rule("linalg_eig", "... 1 1 -> ... 1, ... 1 1");
  rule("_linalg_eigvals", "... 1 1 -> ... 1");
  rule({"linalg_matrix_sqrth", "cholesky_inverse"}, "... 1 1 -> ... 1 1");
  rule("linalg_polar", "... 1 1 -> ... 1 1, ... 1 1");
  rule("linalg_pinv.atol_rtol_tensor", "... 1 1, ?..., ?... -> ... 1 1");
  rule("linalg_qr", "... 1 1 -> ... 1 1, ... 1 1");
  rule("geqrf", "... 1 1 -> ... 1 1, ... 1");
  rule("linalg_householder_product", "... 1 1, ... 1 -> ... 1 1");
  rule("linalg_lu", "... 1 1 -> ... 1 1, ... 1 1, ... 1 1");
  rule("lu_unpack", "... 1 1, ... 1 -> ... 1 1, ... 1 1, ... 1 1");
  rule("linalg_matrix_exp", "... 1 1 -> ... 1 1");
  rule("linalg_solve_triangular", "... 1 1, ... 1 n -> ... 1 n;  linear 1;  when left");
  rule("linalg_solve_triangular", "... 1 1, ... n 1 -> ... n 1;  linear 1;  unless left");
  rule("_linalg_solve_ex", "batches are free, and what is solved for;  unless check_errors", &bind_solve);
  rule("triangular_solve", "... 1 n, ... 1 1 -> ... 1 n, ... 1 1;  free n");
  rule("ormqr", "... 1 1, ... 1, ... 1 n -> ... 1 n;  when left");
  rule("ormqr", "... 1 1, ... 1, ... n 1 -> ... n 1;  unless left");
  rule("linalg_lu_solve", "... 1 1, ... 1, ... 1 n -> ... 1 n;  linear 2;  when left");
  rule("linalg_lu_solve", "... 1 1, ... 1, ... n 1 -> ... n 1;  linear 2;  unless left");
  rule("linalg_ldl_solve", "... 1 1, ... 1, ... 1 n -> ... 1 n;  linear 2");
  rule("cholesky_solve", "... 1 n, ... 1 1 -> ... 1 n;  linear 0");
}

}  // namespace weft::rules
