// Elementwise ops, with broadcasting.
#include "rules/registry.h"

namespace weft::rules {

RULES(pointwise, Family::supports_empty_shards | Family::last) {
  // Sums go through these: pending stays pending.
  rule({"add.Tensor", "sub.Tensor"}, "..., ... -> ...;  linear 0+1");
  rule("mul.Tensor", "..., ... -> ...;  linear 0|1");
  rule("div.Tensor", "..., ... -> ...;  linear 0");
  rule({"mul.Scalar", "div.Scalar", "neg", "conj", "real", "imag", "_conj_physical", "_neg_view"},
       "... -> ...;  linear 0");
  rule({"_to_copy", "clone", "contiguous", "_conj", "lift_fresh", "lift_fresh_copy", "detach_copy", "alias_copy"},
       "... -> ...;  linear 0");
  copies({"clone"});
  rule("where.self", "..., ..., ... -> ...;  linear 1+2");
  rule("lerp.Scalar", "..., ... -> ...;  linear 0+1");
  // Derivatives are linear in the incoming gradient.
  rule({"threshold_backward", "gelu_backward", "silu_backward", "sigmoid_backward", "tanh_backward",
        "hardtanh_backward", "leaky_relu_backward", "elu_backward", "softplus_backward", "hardswish_backward",
        "hardsigmoid_backward", "mish_backward", "softshrink_backward", "hardshrink_backward", "logit_backward"},
       "..., ... -> ...;  linear 0");
  rule({"_prelu_kernel_backward", "rrelu_with_noise_backward"}, "..., ..., ... -> *...");
  rule("native_dropout_backward", "..., ... -> ...;  linear 0");

  // Only the shape of self is read.
  rule({"empty_like", "zeros_like", "ones_like", "full_like"}, "#... -> ...");
  uninitialized({"empty_like"});
  rule({"fill.Scalar", "zero", "fill.Tensor"}, "#..., ?... -> ...");
  rule("copy", "#..., ... -> ...;  carry 1");

  rule({"masked_fill.Scalar",
        "masked_fill.Tensor",
        "bernoulli",
        "log_sigmoid_forward",
        "log_sigmoid_backward",
        "nan_to_num",
        "frexp.Tensor",
        "isin.Tensor_Scalar",
        "bucketize.Scalar",
        "rsub.Tensor",
        "rsub.Scalar",
        "addcmul",
        "addcdiv",
        "heaviside",
        "polar",
        "complex",
        "clamp",
        "clamp.Tensor",
        "isfinite",
        "copysign.Scalar",
        "floor_divide",
        "floor_divide.Scalar",
        "hardswish",
        "_prelu_kernel"},
       "*... -> *...");
  // As torch.compile records addcmul in optimizers. Its tag is known to Python alone.
  rule("prims::fma", "*... -> *...");
  rule("isin.Tensor_Tensor", "... -> ...");  // the set is whole

  for (const std::string& op : ops_tagged_pointwise()) {
    const std::string base = op.substr(0, op.find('.'));
    const bool in_place = base.size() > 1 && base.back() == '_' && base[base.size() - 2] != '_';
    if (in_place || !find(op).empty()) continue;
    rule(op, "*... -> *...");
  }
}

}  // namespace weft::rules
