#include <ATen/ATen.h>
#include <ATen/core/Reduction.h>

#include "plan/meta_shapes.h"

namespace weft::shapes {
namespace {

// What is left of a value for each sample.
at::Tensor reduced(at::Tensor each, int64_t reduction) {
  return reduction == at::Reduction::None ? each : at::empty({}, each.options());
}

}  // namespace

at::Tensor binary_cross_entropy(const at::Tensor& self, const at::Tensor& target, const std::optional<at::Tensor>&,
                                int64_t reduction) {
  TORCH_CHECK(self.sizes() == target.sizes(), "[W068] binary_cross_entropy of ", self.sizes(), " and ", target.sizes());
  return reduced(at::empty_like(self), reduction);
}

at::Tensor binary_cross_entropy_with_logits(const at::Tensor& self, const at::Tensor& target,
                                            const std::optional<at::Tensor>&, const std::optional<at::Tensor>&,
                                            int64_t reduction) {
  TORCH_CHECK(self.sizes() == target.sizes(), "[W068] binary_cross_entropy_with_logits of ", self.sizes(), " and ",
              target.sizes());
  return reduced(at::empty_like(target), reduction);
}

at::Tensor multi_margin_loss(const at::Tensor& self, const at::Tensor& target, const at::Scalar&, const at::Scalar&,
                             const std::optional<at::Tensor>&, int64_t reduction) {
  return reduced(at::empty(target.sizes(), self.options()), self.dim() < 2 ? int64_t{at::Reduction::Mean} : reduction);
}

Two multilabel_margin_loss(const at::Tensor& self, const at::Tensor& target, int64_t reduction) {
  const bool one = self.dim() < 2;
  const at::Tensor each = one ? at::empty({}, self.options()) : at::empty({self.size(0)}, self.options());
  return {reduced(each, reduction), at::empty(target.sizes(), self.options())};
}

Two nll_loss2d(const at::Tensor& self, const at::Tensor& target, const std::optional<at::Tensor>&, int64_t reduction,
               c10::SymInt) {
  TORCH_CHECK(self.dim() == 4 && target.dim() == 3, "[W068] nll_loss2d of ", self.sizes(), " and ", target.sizes());
  return {reduced(at::empty(target.sizes(), self.options()), reduction), at::empty({}, self.options())};
}

}  // namespace weft::shapes
