#include <ATen/ATen.h>
#include <ATen/MetaFunctions.h>

#include "plan/meta_shapes.h"

namespace weft::shapes {
namespace {

at::Tensor places(at::IntArrayRef sizes, const at::Tensor& of, bool out_int32) {
  return at::empty(sizes, of.options().dtype(out_int32 ? at::kInt : at::kLong));
}

}  // namespace

at::Tensor count_nonzero(const at::Tensor& self, at::IntArrayRef dim) {
  return at::meta::sum(self, at::OptionalIntArrayRef(dim), false, at::kLong);
}

at::Tensor count_all_nonzero(const at::Tensor& self, std::optional<int64_t> dim) {
  return at::meta::sum(self, dim ? at::OptionalIntArrayRef(*dim) : at::OptionalIntArrayRef(), false, at::kLong);
}
at::Tensor logsumexp(const at::Tensor& self, at::IntArrayRef dim, bool keepdim) {
  const auto dtype = c10::isIntegralType(self.scalar_type(), /*includeBool=*/true)
                         ? c10::typeMetaToScalarType(at::get_default_dtype())
                         : self.scalar_type();
  return at::meta::sum(self, at::OptionalIntArrayRef(dim), keepdim, dtype);
}

Two value_and_place(const at::Tensor& self, int64_t dim, bool keepdim) {
  const at::Tensor values = at::meta::sum(self, at::OptionalIntArrayRef(dim), keepdim, self.scalar_type());
  return {at::empty(values.sizes(), values.options()), places(values.sizes(), values, false)};
}
Two kthvalue(const at::Tensor& self, c10::SymInt, int64_t dim, bool keepdim) {
  return value_and_place(self, dim, keepdim);
}
Two values_and_places(const at::Tensor& self, int64_t) {
  return {at::empty(self.sizes(), self.options()), places(self.sizes(), self, false)};
}

at::Tensor deviation(const at::Tensor& self, at::OptionalIntArrayRef dim, const std::optional<at::Scalar>&,
                     bool keepdim) {
  TORCH_CHECK(at::isFloatingType(self.scalar_type()) || self.is_complex(), "[W068] std and var of ",
              self.scalar_type());
  return at::meta::sum(self, dim, keepdim, c10::toRealValueType(self.scalar_type()));
}
Two deviation_and_mean(const at::Tensor& self, at::OptionalIntArrayRef dim, const std::optional<at::Scalar>& correction,
                       bool keepdim) {
  return {deviation(self, dim, correction, keepdim), at::meta::sum(self, dim, keepdim, self.scalar_type())};
}

at::Tensor trace(const at::Tensor& self) {
  TORCH_CHECK(self.dim() == 2, "[W068] trace of ", self.dim(), " dimensions");
  return at::meta::sum(self, at::OptionalIntArrayRef(), false, std::nullopt);
}
at::Tensor dot(const at::Tensor& self, const at::Tensor& other) {
  TORCH_CHECK(self.dim() == 1 && self.sizes() == other.sizes(), "[W068] dot of ", self.sizes(), " and ", other.sizes());
  return at::empty({}, self.options());
}

at::Tensor bucketize(const at::Tensor& self, const at::Tensor&, bool out_int32, bool) {
  return places(self.sizes(), self, out_int32);
}
at::Tensor bucketize_number(const at::Scalar&, const at::Tensor& boundaries, bool out_int32, bool) {
  return places({}, boundaries, out_int32);
}
at::Tensor searchsorted(const at::Tensor&, const at::Tensor& self, bool out_int32, bool,
                        std::optional<std::string_view>, const std::optional<at::Tensor>&) {
  return places(self.sizes(), self, out_int32);
}

}  // namespace weft::shapes
