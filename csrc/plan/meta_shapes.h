#pragma once
// Shapes of results that core tells in Python alone, with the signatures of the ops' schemas: all take meta tensors,
// and raise RuntimeError where the op itself would refuse such shapes.
#include <ATen/core/Tensor.h>
#include <c10/core/SymIntArrayRef.h>
#include <c10/util/OptionalArrayRef.h>

#include <array>
#include <optional>
#include <tuple>

namespace weft::shapes {

using Three = std::tuple<at::Tensor, at::Tensor, at::Tensor>;
using Two = std::tuple<at::Tensor, at::Tensor>;
using Dtype = std::optional<at::ScalarType>;
using Format = std::optional<at::MemoryFormat>;

at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>&,
                       c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation,
                       bool transposed, c10::SymIntArrayRef output_padding, c10::SymInt groups);
at::Tensor clone(const at::Tensor& self, std::optional<at::MemoryFormat> format);
at::Tensor masked_fill_value(const at::Tensor& self, const at::Tensor& mask, const at::Scalar&);
at::Tensor masked_fill_tensor(const at::Tensor& self, const at::Tensor& mask, const at::Tensor&);
Three convolution_backward(const at::Tensor&, const at::Tensor& input, const at::Tensor& weight,
                           at::OptionalSymIntArrayRef bias, c10::SymIntArrayRef, c10::SymIntArrayRef,
                           c10::SymIntArrayRef, bool, c10::SymIntArrayRef, c10::SymInt, std::array<bool, 3> mask);
Three native_layer_norm(const at::Tensor& input, c10::SymIntArrayRef shape, const std::optional<at::Tensor>&,
                        const std::optional<at::Tensor>&, double);
Three native_layer_norm_backward(const at::Tensor&, const at::Tensor& input, c10::SymIntArrayRef, const at::Tensor&,
                                 const at::Tensor&, const std::optional<at::Tensor>& weight,
                                 const std::optional<at::Tensor>& bias, std::array<bool, 3> mask);
at::Tensor index_select(const at::Tensor& self, int64_t dim, const at::Tensor& index);
at::Tensor embedding_dense_backward(const at::Tensor& gradient, const at::Tensor&, c10::SymInt rows, c10::SymInt, bool);
at::Tensor adaptive_avg_pool2d(const at::Tensor& self, c10::SymIntArrayRef output);
at::Tensor adaptive_avg_pool2d_backward(const at::Tensor&, const at::Tensor& self);
std::tuple<at::Tensor, at::Tensor> attention_on_cpu(const at::Tensor& query, const at::Tensor&, const at::Tensor&,
                                                    double, bool, const std::optional<at::Tensor>&,
                                                    std::optional<double>);
Three attention_on_cpu_backward(const at::Tensor&, const at::Tensor& query, const at::Tensor& key,
                                const at::Tensor& value, const at::Tensor&, const at::Tensor&, double, bool,
                                const std::optional<at::Tensor>&, std::optional<double>);
Three native_batch_norm(const at::Tensor& input, const std::optional<at::Tensor>&, const std::optional<at::Tensor>&,
                        const std::optional<at::Tensor>&, const std::optional<at::Tensor>&, bool training, double,
                        double);
Three native_batch_norm_backward(const at::Tensor&, const at::Tensor& input, const std::optional<at::Tensor>& weight,
                                 const std::optional<at::Tensor>&, const std::optional<at::Tensor>&,
                                 const std::optional<at::Tensor>&, const std::optional<at::Tensor>&, bool, double,
                                 std::array<bool, 3> mask);
Three native_group_norm_backward(const at::Tensor&, const at::Tensor& input, const at::Tensor&, const at::Tensor&,
                                 const std::optional<at::Tensor>& weight, c10::SymInt, c10::SymInt channels,
                                 c10::SymInt, int64_t, std::array<bool, 3> mask);
at::Tensor mse_loss_backward(const at::Tensor&, const at::Tensor& self, const at::Tensor&, int64_t);
at::Tensor pixel_shuffle(const at::Tensor& self, int64_t factor);
at::Tensor reduce_all_meta(const at::Tensor& self);

// empty_like, zeros_like and ones_like; new_empty, new_zeros and new_ones.
at::Tensor made_like(const at::Tensor& self, Dtype, std::optional<at::Layout>, std::optional<at::Device>,
                     std::optional<bool>, Format);
at::Tensor full_like(const at::Tensor& self, const at::Scalar&, Dtype, std::optional<at::Layout>,
                     std::optional<at::Device>, std::optional<bool>, Format);
at::Tensor new_empty_meta(const at::Tensor& self, c10::SymIntArrayRef size, Dtype, std::optional<at::Layout>,
                          std::optional<at::Device>, std::optional<bool>);
at::Tensor new_full(const at::Tensor& self, c10::SymIntArrayRef size, const at::Scalar&, Dtype,
                    std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>);
at::Tensor new_empty_strided(const at::Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride, Dtype,
                             std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>);

at::Tensor stack(at::TensorList tensors, int64_t dim);
Two geqrf(const at::Tensor& self);
Two linalg_eig(const at::Tensor& self);
at::Tensor max_unpool2d(const at::Tensor& self, const at::Tensor&, c10::SymIntArrayRef output);
at::Tensor safe_softmax(const at::Tensor& self, int64_t, Dtype);
at::Tensor select_backward(const at::Tensor& gradient, c10::SymIntArrayRef sizes, int64_t, c10::SymInt);
at::Tensor slice_backward(const at::Tensor& gradient, c10::SymIntArrayRef sizes, int64_t, c10::SymInt, c10::SymInt,
                          c10::SymInt);
at::Tensor embedding(const at::Tensor& weight, const at::Tensor& indices, c10::SymInt, bool, bool);

}  // namespace weft::shapes
