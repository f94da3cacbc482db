#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>

#include "plan/meta_shapes.h"

namespace weft::shapes {
namespace {

at::Tensor product(const at::Tensor& a, const at::Tensor& b, int64_t dims, at::ScalarType dtype) {
  TORCH_CHECK(a.dim() == dims && b.dim() == dims && a.size(-1) == b.size(-2), "[W068] a product of ", a.sizes(),
              " and ", b.sizes());
  auto sizes = a.sizes().vec();
  sizes.back() = b.size(-1);
  return at::empty(sizes, a.options().dtype(dtype));
}
// As LAPACK has its matrices.
at::Tensor by_columns(at::IntArrayRef sizes, const at::TensorOptions& options) {
  auto turned = sizes.vec();
  std::swap(turned[turned.size() - 2], turned.back());
  return at::empty(turned, options).mT();
}

}  // namespace

at::Tensor mm_dtype(const at::Tensor& self, const at::Tensor& other, at::ScalarType dtype) {
  return product(self, other, 2, dtype);
}
at::Tensor bmm_dtype(const at::Tensor& self, const at::Tensor& other, at::ScalarType dtype) {
  return product(self, other, 3, dtype);
}
at::Tensor addmm_dtype(const at::Tensor&, const at::Tensor& a, const at::Tensor& b, at::ScalarType dtype,
                       const at::Scalar&, const at::Scalar&) {
  return product(a, b, 2, dtype);
}
at::Tensor baddbmm_dtype(const at::Tensor&, const at::Tensor& a, const at::Tensor& b, at::ScalarType dtype,
                         const at::Scalar&, const at::Scalar&) {
  return product(a, b, 3, dtype);
}
at::Tensor addbmm(const at::Tensor& self, const at::Tensor& a, const at::Tensor& b, const at::Scalar&,
                  const at::Scalar&) {
  TORCH_CHECK(a.dim() == 3 && b.dim() == 3, "[W068] addbmm of ", a.sizes(), " and ", b.sizes());
  return at::empty({a.size(1), b.size(2)}, self.options());
}

at::Tensor cdist(const at::Tensor& a, const at::Tensor& b, double, std::optional<int64_t>) {
  TORCH_CHECK(a.dim() >= 2 && b.dim() >= 2 && a.size(-1) == b.size(-1), "[W068] cdist of ", a.sizes(), " and ",
              b.sizes());
  auto sizes = at::infer_size(a.sizes().slice(0, a.dim() - 2), b.sizes().slice(0, b.dim() - 2));
  sizes.insert(sizes.end(), {a.size(-2), b.size(-2)});
  return at::empty(sizes, a.options());
}
at::Tensor cdist_backward(const at::Tensor&, const at::Tensor& a, const at::Tensor& b, double, const at::Tensor&) {
  auto sizes = at::infer_size(a.sizes().slice(0, a.dim() - 2), b.sizes().slice(0, b.dim() - 2));
  sizes.insert(sizes.end(), {a.size(-2), a.size(-1)});
  const bool none = c10::multiply_integers(sizes) == 0 || b.size(-2) == 0;  // then core does not expand it
  return at::empty(none ? a.sizes() : at::IntArrayRef(sizes), a.options());
}

at::Tensor linalg_eigvals(const at::Tensor& self) {
  TORCH_CHECK(self.dim() >= 2, "[W068] eigvals of ", self.dim(), " dimensions");
  return at::empty(self.sizes().slice(0, self.dim() - 1), self.options().dtype(c10::toComplexType(self.scalar_type())));
}
at::Tensor cholesky_inverse(const at::Tensor& self, bool) {
  TORCH_CHECK(self.dim() >= 2, "[W068] cholesky_inverse of ", self.dim(), " dimensions");
  return by_columns(self.sizes(), self.options());
}
at::Tensor cholesky_solve(const at::Tensor& self, const at::Tensor& factor, bool) {
  return shapes::linalg_solve_triangular(factor, self, false, true, false);
}
at::Tensor linalg_householder_product(const at::Tensor& self, const at::Tensor&) {
  TORCH_CHECK(self.dim() >= 2, "[W068] householder_product of ", self.dim(), " dimensions");
  return by_columns(self.sizes(), self.options());
}
at::Tensor linalg_solve_triangular(const at::Tensor& self, const at::Tensor& other, bool, bool, bool) {
  TORCH_CHECK(self.dim() >= 2 && other.dim() >= 2, "[W068] solve_triangular of ", self.sizes(), " and ", other.sizes());
  auto sizes = at::infer_size(self.sizes().slice(0, self.dim() - 2), other.sizes().slice(0, other.dim() - 2));
  sizes.insert(sizes.end(), {other.size(-2), other.size(-1)});
  return by_columns(sizes, other.options());
}
at::Tensor ormqr(const at::Tensor&, const at::Tensor&, const at::Tensor& other, bool, bool) {
  TORCH_CHECK(other.dim() >= 2, "[W068] ormqr of ", other.dim(), " dimensions");
  return by_columns(other.sizes(), other.options());
}

Two weight_norm(const at::Tensor& v, const at::Tensor& g, int64_t) {
  return {at::empty(v.sizes(), v.options()), at::empty(g.sizes(), g.options())};
}

}  // namespace weft::shapes
