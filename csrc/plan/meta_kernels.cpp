// Core's compiled meta kernels, and ours, called past the dispatcher: Python registers kernels of its own over them, a
// hundred times slower, and a process without Python has these alone.
#include "plan/meta_kernels.h"

#include <ATen/MetaFunctions.h>
#include <ATen/Operators.h>
#include <ATen/TensorIterator.h>
#include <ATen/core/boxing/KernelFunction.h>
#include <ATen/native/TypeProperties.h>
#include <ATen/record_function.h>

#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "plan/meta_like.h"
#include "plan/meta_shapes.h"

namespace weft {
namespace {

namespace op = at::_ops;
using Kernels = std::unordered_map<c10::OperatorName, c10::KernelFunction>;
using Kernel = Kernels::value_type;

template <class Op>
c10::OperatorName name_of() {
  return {Op::name, Op::overload_name};
}

// The schema's type picks the overload.
template <class Op>
Kernel entry(typename Op::schema* kernel) {
  return {name_of<Op>(), c10::KernelFunction::makeFromUnboxedRuntimeFunction(kernel)};
}

at::Tensor sum_of_all(const at::Tensor& self, std::optional<at::ScalarType> dtype) {
  return at::meta::sum(self, at::OptionalIntArrayRef(), false, dtype);
}
at::Tensor mean_of_all(const at::Tensor& self, std::optional<at::ScalarType> dtype) {
  return at::meta::mean(self, at::OptionalIntArrayRef(), false, dtype);
}

// Those of meta_shapes.h.
Kernels ours() {
  return {
      entry<op::_adaptive_avg_pool2d>(&shapes::adaptive_avg_pool2d),
      entry<op::_adaptive_avg_pool2d_backward>(&shapes::adaptive_avg_pool2d_backward),
      entry<op::_adaptive_avg_pool3d>(&shapes::adaptive_avg_pool3d),
      entry<op::addbmm>(&shapes::addbmm),
      entry<op::addmm_dtype>(&shapes::addmm_dtype),
      entry<op::baddbmm_dtype>(&shapes::baddbmm_dtype),
      entry<op::binary_cross_entropy>(&shapes::binary_cross_entropy),
      entry<op::binary_cross_entropy_with_logits>(&shapes::binary_cross_entropy_with_logits),
      entry<op::bmm_dtype>(&shapes::bmm_dtype),
      entry<op::bucketize_Scalar>(&shapes::bucketize_number),
      entry<op::bucketize_Tensor>(&shapes::bucketize),
      entry<op::_cdist_backward>(&shapes::cdist_backward),
      entry<op::_cdist_forward>(&shapes::cdist),
      entry<op::cholesky_inverse>(&shapes::cholesky_inverse),
      entry<op::cholesky_solve>(&shapes::cholesky_solve),
      entry<op::clone>(&shapes::clone),
      entry<op::col2im>(&shapes::col2im),
      entry<op::complex>(&shapes::complex_of),
      entry<op::convolution>(&shapes::convolution),
      entry<op::convolution_backward>(&shapes::convolution_backward),
      entry<op::count_nonzero>(&shapes::count_all_nonzero),
      entry<op::count_nonzero_dim_IntList>(&shapes::count_nonzero),
      entry<op::cummax>(&shapes::values_and_places),
      entry<op::cummin>(&shapes::values_and_places),
      entry<op::dot>(&shapes::dot),
      entry<op::embedding>(&shapes::embedding),
      entry<op::embedding_dense_backward>(&shapes::embedding_dense_backward),
      entry<op::empty_like>(&shapes::made_like),
      entry<op::frexp_Tensor>(&shapes::frexp),
      entry<op::full_like>(&shapes::full_like),
      entry<op::geqrf>(&shapes::geqrf),
      entry<op::grid_sampler_2d>(&shapes::grid_sampler),
      entry<op::grid_sampler_3d>(&shapes::grid_sampler),
      entry<op::im2col>(&shapes::im2col),
      entry<op::index_select>(&shapes::index_select),
      entry<op::kthvalue>(&shapes::kthvalue),
      entry<op::linalg_eig>(&shapes::linalg_eig),
      entry<op::_linalg_eigvals>(&shapes::linalg_eigvals),
      entry<op::linalg_householder_product>(&shapes::linalg_householder_product),
      entry<op::linalg_solve_triangular>(&shapes::linalg_solve_triangular),
      entry<op::logsumexp>(&shapes::logsumexp),
      entry<op::masked_fill_Scalar>(&shapes::masked_fill_value),
      entry<op::masked_fill_Tensor>(&shapes::masked_fill_tensor),
      entry<op::masked_scatter>(&shapes::masked_fill_tensor),
      entry<op::masked_scatter_backward>(&shapes::masked_scatter_backward),
      entry<op::max>(&shapes::reduce_all_meta),
      entry<op::max_pool3d_with_indices>(&shapes::max_pool3d),
      entry<op::max_unpool2d>(&shapes::max_unpool2d),
      entry<op::max_unpool3d>(&shapes::max_unpool3d),
      entry<op::median_dim>(&shapes::value_and_place),
      entry<op::min>(&shapes::reduce_all_meta),
      entry<op::mm_dtype>(&shapes::mm_dtype),
      entry<op::mode>(&shapes::value_and_place),
      entry<op::mse_loss_backward>(&shapes::mse_loss_backward),
      entry<op::multi_margin_loss>(&shapes::multi_margin_loss),
      entry<op::multilabel_margin_loss_forward>(&shapes::multilabel_margin_loss),
      entry<op::nanmedian_dim>(&shapes::value_and_place),
      entry<op::native_batch_norm>(&shapes::native_batch_norm),
      entry<op::native_batch_norm_backward>(&shapes::native_batch_norm_backward),
      entry<op::_native_batch_norm_legit_no_training>(&shapes::batch_norm_without_training),
      entry<op::native_group_norm>(&shapes::native_group_norm),
      entry<op::native_group_norm_backward>(&shapes::native_group_norm_backward),
      entry<op::native_layer_norm>(&shapes::native_layer_norm),
      entry<op::native_layer_norm_backward>(&shapes::native_layer_norm_backward),
      entry<op::new_empty>(&shapes::new_empty_meta),
      entry<op::new_empty_strided>(&shapes::new_empty_strided),
      entry<op::new_full>(&shapes::new_full),
      entry<op::new_ones>(&shapes::new_empty_meta),
      entry<op::new_zeros>(&shapes::new_empty_meta),
      entry<op::nll_loss2d_forward>(&shapes::nll_loss2d),
      entry<op::ones_like>(&shapes::made_like),
      entry<op::ormqr>(&shapes::ormqr),
      entry<op::pixel_shuffle>(&shapes::pixel_shuffle),
      entry<op::polar>(&shapes::complex_of),
      entry<op::reflection_pad2d>(&shapes::reflection_pad2d),
      entry<op::rot90>(&shapes::rot90),
      entry<op::_safe_softmax>(&shapes::safe_softmax),
      entry<op::_scaled_dot_product_flash_attention_for_cpu>(&shapes::attention_on_cpu),
      entry<op::_scaled_dot_product_flash_attention_for_cpu_backward>(&shapes::attention_on_cpu_backward),
      entry<op::searchsorted_Tensor>(&shapes::searchsorted),
      entry<op::select_backward>(&shapes::select_backward),
      entry<op::slice_backward>(&shapes::slice_backward),
      entry<op::stack>(&shapes::stack),
      entry<op::std_correction>(&shapes::deviation),
      entry<op::std_mean_correction>(&shapes::deviation_and_mean),
      entry<op::trace>(&shapes::trace),
      entry<op::unfold_backward>(&shapes::unfold_backward),
      entry<op::var_correction>(&shapes::deviation),
      entry<op::var_mean_correction>(&shapes::deviation_and_mean),
      entry<op::vdot>(&shapes::dot),
      entry<op::_weight_norm_interface>(&shapes::weight_norm),
      entry<op::zeros_like>(&shapes::made_like),
  };
}

// Core's, which its kernels with values begin with: what these refuse, those do.
Kernels structured() {
  return {
      entry<op::sum>(&sum_of_all),
      entry<op::prod>(&sum_of_all),
      entry<op::nansum>(&at::meta::sum),
      entry<op::huber_loss>(&at::meta::smooth_l1_loss),
      entry<op::mean>(&mean_of_all),
      entry<op::_linalg_svd>(&at::meta::_linalg_svd),
      entry<op::_log_softmax_backward_data>(&at::meta::_log_softmax_backward_data),
      entry<op::_log_softmax>(&at::meta::_log_softmax),
      entry<op::_softmax_backward_data>(&at::meta::_softmax_backward_data),
      entry<op::_softmax>(&at::meta::_softmax),
      entry<op::acos>(&at::meta::acos),
      entry<op::acosh>(&at::meta::acosh),
      entry<op::adaptive_max_pool2d_backward>(&at::meta::adaptive_max_pool2d_backward),
      entry<op::adaptive_max_pool2d>(&at::meta::adaptive_max_pool2d),
      entry<op::add_Tensor>(&at::meta::add),
      entry<op::addcdiv>(&at::meta::addcdiv),
      entry<op::addcmul>(&at::meta::addcmul),
      entry<op::addmm>(&at::meta::addmm),
      entry<op::addmv>(&at::meta::addmv),
      entry<op::all_dim>(&at::meta::all),
      entry<op::all_dims>(&at::meta::all),
      entry<op::all>(&at::meta::all),
      entry<op::amax>(&at::meta::amax),
      entry<op::amin>(&at::meta::amin),
      entry<op::aminmax>(&at::meta::aminmax),
      entry<op::any_dim>(&at::meta::any),
      entry<op::any_dims>(&at::meta::any),
      entry<op::any>(&at::meta::any),
      entry<op::argmax>(&at::meta::argmax),
      entry<op::argmin>(&at::meta::argmin),
      entry<op::asin>(&at::meta::asin),
      entry<op::asinh>(&at::meta::asinh),
      entry<op::atan2>(&at::meta::atan2),
      entry<op::atan>(&at::meta::atan),
      entry<op::atanh>(&at::meta::atanh),
      entry<op::avg_pool2d_backward>(&at::meta::avg_pool2d_backward),
      entry<op::avg_pool2d>(&at::meta::avg_pool2d),
      entry<op::baddbmm>(&at::meta::baddbmm),
      entry<op::bitwise_and_Tensor>(&at::meta::bitwise_and),
      entry<op::bitwise_left_shift_Tensor>(&at::meta::bitwise_left_shift),
      entry<op::bitwise_not>(&at::meta::bitwise_not),
      entry<op::bitwise_or_Tensor>(&at::meta::bitwise_or),
      entry<op::bitwise_right_shift_Tensor>(&at::meta::bitwise_right_shift),
      entry<op::bitwise_xor_Tensor>(&at::meta::bitwise_xor),
      entry<op::bmm>(&at::meta::bmm),
      entry<op::cat>(&at::meta::cat),
      entry<op::ceil>(&at::meta::ceil),
      entry<op::clamp_max>(&at::meta::clamp_max),
      entry<op::clamp_max_Tensor>(&at::meta::clamp_max),
      entry<op::clamp>(&at::meta::clamp),
      entry<op::clamp_Tensor>(&at::meta::clamp),
      entry<op::clamp_min>(&at::meta::clamp_min),
      entry<op::clamp_min_Tensor>(&at::meta::clamp_min),
      entry<op::cos>(&at::meta::cos),
      entry<op::cosh>(&at::meta::cosh),
      entry<op::cumprod>(&at::meta::cumprod),
      entry<op::cumsum>(&at::meta::cumsum),
      entry<op::div_Tensor>(&at::meta::div),
      entry<op::div_Tensor_mode>(&at::meta::div),
      entry<op::elu_backward>(&at::meta::elu_backward),
      entry<op::elu>(&at::meta::elu),
      entry<op::eq_Scalar>(&at::meta::eq),
      entry<op::eq_Tensor>(&at::meta::eq),
      entry<op::erf>(&at::meta::erf),
      entry<op::erfc>(&at::meta::erfc),
      entry<op::exp2>(&at::meta::exp2),
      entry<op::exp>(&at::meta::exp),
      entry<op::expm1>(&at::meta::expm1),
      entry<op::floor>(&at::meta::floor),
      entry<op::fmax>(&at::meta::fmax),
      entry<op::fmin>(&at::meta::fmin),
      entry<op::fmod_Tensor>(&at::meta::fmod),
      entry<op::gather>(&at::meta::gather),
      entry<op::ge_Scalar>(&at::meta::ge),
      entry<op::ge_Tensor>(&at::meta::ge),
      entry<op::gelu>(&at::meta::gelu),
      entry<op::glu>(&at::meta::glu),
      entry<op::gt_Scalar>(&at::meta::gt),
      entry<op::gt_Tensor>(&at::meta::gt),
      entry<op::hardshrink_backward>(&at::meta::hardshrink_backward),
      entry<op::hardshrink>(&at::meta::hardshrink),
      entry<op::hardsigmoid_backward>(&at::meta::hardsigmoid_backward),
      entry<op::hardsigmoid>(&at::meta::hardsigmoid),
      entry<op::index_add>(&at::meta::index_add),
      entry<op::le_Scalar>(&at::meta::le),
      entry<op::le_Tensor>(&at::meta::le),
      entry<op::leaky_relu>(&at::meta::leaky_relu),
      entry<op::lerp_Scalar>(&at::meta::lerp),
      entry<op::lerp_Tensor>(&at::meta::lerp),
      entry<op::linalg_vector_norm>(&at::meta::linalg_vector_norm),
      entry<op::log10>(&at::meta::log10),
      entry<op::log1p>(&at::meta::log1p),
      entry<op::log2>(&at::meta::log2),
      entry<op::log>(&at::meta::log),
      entry<op::logaddexp2>(&at::meta::logaddexp2),
      entry<op::logaddexp>(&at::meta::logaddexp),
      entry<op::lt_Scalar>(&at::meta::lt),
      entry<op::lt_Tensor>(&at::meta::lt),
      entry<op::max_dim>(&at::meta::max),
      entry<op::max_pool2d_with_indices_backward>(&at::meta::max_pool2d_with_indices_backward),
      entry<op::max_pool2d_with_indices>(&at::meta::max_pool2d_with_indices),
      entry<op::maximum>(&at::meta::maximum),
      entry<op::mean_dim>(&at::meta::mean),
      entry<op::min_dim>(&at::meta::min),
      entry<op::minimum>(&at::meta::minimum),
      entry<op::mish>(&at::meta::mish),
      entry<op::mm>(&at::meta::mm),
      entry<op::mse_loss>(&at::meta::mse_loss),
      entry<op::mul_Tensor>(&at::meta::mul),
      entry<op::ne_Scalar>(&at::meta::ne),
      entry<op::ne_Tensor>(&at::meta::ne),
      entry<op::neg>(&at::meta::neg),
      entry<op::nll_loss_backward>(&at::meta::nll_loss_backward_symint),
      entry<op::nll_loss_forward>(&at::meta::nll_loss_forward_symint),
      entry<op::norm_ScalarOpt_dim_dtype>(&at::meta::norm),
      entry<op::norm_ScalarOpt_dim>(&at::meta::norm),
      entry<op::pow_Tensor_Tensor>(&at::meta::pow),
      entry<op::pow_Scalar>(&at::meta::pow),
      entry<op::pow_Tensor_Scalar>(&at::meta::pow),
      entry<op::prod_dim_int>(&at::meta::prod),
      entry<op::reciprocal>(&at::meta::reciprocal),
      entry<op::remainder_Tensor>(&at::meta::remainder),
      entry<op::round>(&at::meta::round),
      entry<op::round_decimals>(&at::meta::round),
      entry<op::rsqrt>(&at::meta::rsqrt),
      entry<op::scatter_add>(&at::meta::scatter_add),
      entry<op::scatter_src>(&at::meta::scatter),
      entry<op::scatter_value>(&at::meta::scatter),
      entry<op::scatter_reduce>(&at::meta::scatter),
      entry<op::scatter_value_reduce>(&at::meta::scatter),
      entry<op::scatter_reduce_two>(&at::meta::scatter_reduce),
      entry<op::sigmoid_backward>(&at::meta::sigmoid_backward),
      entry<op::sigmoid>(&at::meta::sigmoid),
      entry<op::sign>(&at::meta::sign),
      entry<op::silu>(&at::meta::silu),
      entry<op::sin>(&at::meta::sin),
      entry<op::sinh>(&at::meta::sinh),
      entry<op::smooth_l1_loss>(&at::meta::smooth_l1_loss),
      entry<op::softplus_backward>(&at::meta::softplus_backward),
      entry<op::softplus>(&at::meta::softplus),
      entry<op::softshrink_backward>(&at::meta::softshrink_backward),
      entry<op::softshrink>(&at::meta::softshrink),
      entry<op::sort_stable>(&at::meta::sort),
      entry<op::sqrt>(&at::meta::sqrt),
      entry<op::sub_Tensor>(&at::meta::sub),
      entry<op::sum_dim_IntList>(&at::meta::sum),
      entry<op::tan>(&at::meta::tan),
      entry<op::tanh_backward>(&at::meta::tanh_backward),
      entry<op::tanh>(&at::meta::tanh),
      entry<op::threshold_backward>(&at::meta::threshold_backward),
      entry<op::threshold>(&at::meta::threshold),
      entry<op::trunc>(&at::meta::trunc),
  };
}

// What core's Python tells as well, and where it is there knows better for each device.
Kernels without_python() {
  return {
      entry<op::_embedding_bag>(&shapes::embedding_bag),
      entry<op::_embedding_bag_backward>(&shapes::embedding_bag_backward),
      entry<op::_embedding_bag_dense_backward>(&shapes::embedding_bag_dense_backward),
      entry<op::_embedding_bag_forward_only>(&shapes::embedding_bag),
      entry<op::_embedding_bag_per_sample_weights_backward>(&shapes::embedding_bag_weights_backward),
      entry<op::_fused_rms_norm_backward>(&shapes::rms_norm_backward),
      entry<op::_scaled_dot_product_efficient_attention>(&shapes::efficient_attention),
      entry<op::_scaled_dot_product_efficient_attention_backward>(&shapes::efficient_attention_backward),
      entry<op::_scaled_dot_product_flash_attention>(&shapes::flash_attention),
      entry<op::_scaled_dot_product_flash_attention_backward>(&shapes::flash_attention_backward),
      entry<op::_thnn_fused_gru_cell>(&shapes::gru_cell),
      entry<op::_thnn_fused_gru_cell_backward>(&shapes::gru_cell_backward),
      entry<op::_thnn_fused_lstm_cell>(&shapes::lstm_cell),
      entry<op::_thnn_fused_lstm_cell_backward_impl>(&shapes::lstm_cell_backward),
      entry<op::mkldnn_rnn_layer>(&shapes::mkldnn_rnn_layer),
      entry<op::mkldnn_rnn_layer_backward>(&shapes::mkldnn_rnn_layer_backward),
  };
}

// Whose results are in another order of memory on GPUs, as core's Python tells.
Kernels on_cpus() {
  return {
      entry<op::_fft_c2c>(&shapes::fft_c2c),
      entry<op::_fft_c2r>(&shapes::fft_c2r),
      entry<op::_fft_r2c>(&shapes::fft_r2c),
  };
}

const Kernels& core() {
  static const auto* kernels = new Kernels(structured());
  return *kernels;
}

bool run_in(const Kernels& kernels, const c10::OperatorHandle& handle, std::vector<c10::IValue>& stack) {
  const auto it = kernels.find(handle.operator_name());
  if (it == kernels.end()) return false;
  it->second.callBoxed(handle, c10::DispatchKeySet(c10::DispatchKey::Meta), &stack);
  return true;
}

bool is_pointwise(const c10::OperatorHandle& handle) {
  static const std::unordered_set<c10::OperatorName> without_tag = {
      name_of<op::_prelu_kernel>(),      name_of<op::floor_divide>(),      name_of<op::hardswish>(),
      name_of<op::hardswish_backward>(), name_of<op::hardtanh_backward>(), name_of<op::rsub_Tensor>(),
  };
  return handle.hasTag(at::Tag::pointwise) || without_tag.contains(handle.operator_name());
}

// The dtype of the op's result, of which neither schema nor tag tells (isnan gives truths, lgamma of integers
// fractions, abs of complex numbers real ones): of single numbers on the CPU. nullopt: it has no kernel for such
// numbers there.
std::optional<at::ScalarType> dtype_of_one(const c10::OperatorHandle& handle, std::vector<c10::IValue> stack) {
  if (handle.hasTag(at::Tag::nondeterministic_seeded)) return std::nullopt;
  const at::RecordFunctionGuard not_recorded(false);
  for (c10::IValue& v : stack) {
    if (!v.isTensor() || !v.toTensor().defined()) continue;
    const at::Tensor& t = v.toTensor();
    at::Tensor one = at::ones(std::vector<int64_t>(t.dim(), 1), at::TensorOptions(t.scalar_type()));
    if (t.unsafeGetTensorImpl()->is_wrapped_number()) one.unsafeGetTensorImpl()->set_wrapped_number(true);
    v = std::move(one);
  }
  try {
    handle.callBoxed(&stack);
  } catch (const c10::Error&) {
    return std::nullopt;
  }
  return stack.at(0).toTensor().scalar_type();
}

// A pointwise op without a compiled meta kernel: broadcast and ordered as TensorIterator does, whose kernels it runs.
bool run_pointwise(const c10::OperatorHandle& handle, std::vector<c10::IValue>& stack) {
  const auto& schema = handle.schema();
  if (!is_pointwise(handle) || schema.returns().size() != 1 || schema.returns()[0].alias_info() != nullptr ||
      handle.operator_name().getNamespace() != "aten") {
    return false;
  }
  at::TensorIteratorConfig config;
  config.set_check_mem_overlap(false).check_all_same_dtype(false).check_all_same_device(false);
  std::vector<at::Tensor> inputs;
  at::native::ResultTypeState types;
  for (const c10::IValue& v : stack) {
    if (v.isTensorList()) return false;
    if (!v.isTensor() || !v.toTensor().defined()) continue;
    inputs.push_back(v.toTensor());
    types = at::native::update_result_type_state(inputs.back(), types);
  }
  if (inputs.empty()) return false;
  const at::ScalarType dtype = dtype_of_one(handle, stack).value_or(at::native::result_type(types));
  config.declare_static_dtype_and_device(dtype, at::kMeta).add_owned_output(at::Tensor());
  for (const at::Tensor& t : inputs) config.add_const_input(t);
  const at::Tensor result = config.build().output();
  stack.clear();
  stack.emplace_back(result);
  return true;
}

}  // namespace

bool run_compiled_meta(const c10::OperatorHandle& handle, std::vector<c10::IValue>& stack, bool on_cpu) {
  static const Kernels *const own = new Kernels(ours()), *const alone = new Kernels(without_python()),
                              *const cpu = new Kernels(on_cpus());
  return run_in(*own, handle, stack) || run_in(core(), handle, stack) || (on_cpu && run_in(*cpu, handle, stack)) ||
         run_meta_like(handle, stack) || run_pointwise(handle, stack) ||
         (!handle.hasKernelForDispatchKey(c10::DispatchKey::Meta) && run_in(*alone, handle, stack));
}

bool refuses_as_core(const c10::OperatorHandle& handle) { return core().contains(handle.operator_name()); }

}  // namespace weft
