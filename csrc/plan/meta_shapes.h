#pragma once
// Shapes of results that core tells in Python alone, with the signatures of the ops' schemas: all take meta tensors,
// and raise RuntimeError where the op itself would refuse such shapes.
#include <ATen/core/Tensor.h>
#include <c10/core/SymIntArrayRef.h>
#include <c10/util/OptionalArrayRef.h>

#include <array>
#include <optional>
#include <string_view>
#include <tuple>

namespace weft::shapes {

using Three = std::tuple<at::Tensor, at::Tensor, at::Tensor>;
using Two = std::tuple<at::Tensor, at::Tensor>;
using Four = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
using Five = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
using Seven = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
using Flash = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, c10::SymInt, c10::SymInt, at::Tensor,
                         at::Tensor, at::Tensor>;
using Dtype = std::optional<at::ScalarType>;
using Format = std::optional<at::MemoryFormat>;

at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>&,
                       c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation,
                       bool transposed, c10::SymIntArrayRef output_padding, c10::SymInt groups);
at::Tensor clone(const at::Tensor& self, std::optional<at::MemoryFormat> format);
at::Tensor masked_fill_value(const at::Tensor& self, const at::Tensor& mask, const at::Scalar&);
at::Tensor masked_fill_tensor(const at::Tensor& self, const at::Tensor& mask, const at::Tensor&);
at::Tensor masked_scatter_backward(const at::Tensor& gradient, const at::Tensor&, c10::SymIntArrayRef sizes);
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
Three native_group_norm(const at::Tensor& input, const std::optional<at::Tensor>&, const std::optional<at::Tensor>&,
                        c10::SymInt batch, c10::SymInt, c10::SymInt, int64_t groups, double);
Three batch_norm_without_training(const at::Tensor& input, const std::optional<at::Tensor>& weight,
                                  const std::optional<at::Tensor>& bias, const at::Tensor& mean,
                                  const at::Tensor& variance, double, double);
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
// Of complex and polar.
at::Tensor complex_of(const at::Tensor& a, const at::Tensor& b);
Two frexp(const at::Tensor& self);
at::Tensor rot90(const at::Tensor& self, int64_t k, at::IntArrayRef dims);
at::Tensor fft_c2c(const at::Tensor& self, c10::SymIntArrayRef dim, int64_t, bool);
at::Tensor fft_c2r(const at::Tensor& self, at::IntArrayRef dim, int64_t, c10::SymInt last_size);
at::Tensor fft_r2c(const at::Tensor& self, at::IntArrayRef dim, int64_t, bool onesided);
Two geqrf(const at::Tensor& self);
Two linalg_eig(const at::Tensor& self);
at::Tensor safe_softmax(const at::Tensor& self, int64_t, Dtype);
at::Tensor select_backward(const at::Tensor& gradient, c10::SymIntArrayRef sizes, int64_t, c10::SymInt);
at::Tensor slice_backward(const at::Tensor& gradient, c10::SymIntArrayRef sizes, int64_t, c10::SymInt, c10::SymInt,
                          c10::SymInt);
at::Tensor embedding(const at::Tensor& weight, const at::Tensor& indices, c10::SymInt, bool, bool);

// ---- meta_reductions.cpp --------------------------------------------------------------------------------------------
at::Tensor count_nonzero(const at::Tensor& self, at::IntArrayRef dim);
at::Tensor count_all_nonzero(const at::Tensor& self, std::optional<int64_t> dim);
at::Tensor logsumexp(const at::Tensor& self, at::IntArrayRef dim, bool keepdim);
// Of mode and median.
Two value_and_place(const at::Tensor& self, int64_t dim, bool keepdim);
Two kthvalue(const at::Tensor& self, c10::SymInt, int64_t dim, bool keepdim);
// Of cummax and cummin.
Two values_and_places(const at::Tensor& self, int64_t);
// Of std and var.
at::Tensor deviation(const at::Tensor& self, at::OptionalIntArrayRef dim, const std::optional<at::Scalar>&,
                     bool keepdim);
Two deviation_and_mean(const at::Tensor& self, at::OptionalIntArrayRef dim, const std::optional<at::Scalar>&,
                       bool keepdim);
at::Tensor trace(const at::Tensor& self);
at::Tensor dot(const at::Tensor& self, const at::Tensor& other);
at::Tensor bucketize(const at::Tensor& self, const at::Tensor&, bool out_int32, bool);
at::Tensor bucketize_number(const at::Scalar&, const at::Tensor& boundaries, bool out_int32, bool);
at::Tensor searchsorted(const at::Tensor&, const at::Tensor& self, bool out_int32, bool,
                        std::optional<std::string_view>, const std::optional<at::Tensor>&);

// ---- meta_losses.cpp ------------------------------------------------------------------------------------------------
at::Tensor binary_cross_entropy(const at::Tensor& self, const at::Tensor& target, const std::optional<at::Tensor>&,
                                int64_t reduction);
at::Tensor binary_cross_entropy_with_logits(const at::Tensor& self, const at::Tensor& target,
                                            const std::optional<at::Tensor>&, const std::optional<at::Tensor>&,
                                            int64_t reduction);
at::Tensor multi_margin_loss(const at::Tensor& self, const at::Tensor& target, const at::Scalar&, const at::Scalar&,
                             const std::optional<at::Tensor>&, int64_t reduction);
Two multilabel_margin_loss(const at::Tensor& self, const at::Tensor& target, int64_t reduction);
Two nll_loss2d(const at::Tensor& self, const at::Tensor& target, const std::optional<at::Tensor>&, int64_t reduction,
               c10::SymInt);

// ---- meta_windows.cpp -----------------------------------------------------------------------------------------------
at::Tensor adaptive_avg_pool2d(const at::Tensor& self, c10::SymIntArrayRef output);
at::Tensor adaptive_avg_pool3d(const at::Tensor& self, c10::SymIntArrayRef output);
Two max_pool3d(const at::Tensor& self, at::IntArrayRef kernel, at::IntArrayRef stride, at::IntArrayRef padding,
               at::IntArrayRef dilation, bool ceil_mode);
at::Tensor max_unpool2d(const at::Tensor& self, const at::Tensor&, c10::SymIntArrayRef output);
at::Tensor max_unpool3d(const at::Tensor& self, const at::Tensor&, c10::SymIntArrayRef output, at::IntArrayRef,
                        at::IntArrayRef);
at::Tensor im2col(const at::Tensor& self, at::IntArrayRef kernel, at::IntArrayRef dilation, at::IntArrayRef padding,
                  at::IntArrayRef stride);
at::Tensor col2im(const at::Tensor& self, c10::SymIntArrayRef output, at::IntArrayRef kernel, at::IntArrayRef,
                  at::IntArrayRef, at::IntArrayRef);
at::Tensor grid_sampler(const at::Tensor& input, const at::Tensor& grid, int64_t, int64_t, bool);
at::Tensor reflection_pad2d(const at::Tensor& self, c10::SymIntArrayRef padding);
at::Tensor unfold_backward(const at::Tensor& gradient, c10::SymIntArrayRef sizes, int64_t, int64_t, int64_t);

// ---- meta_products.cpp ----------------------------------------------------------------------------------------------
at::Tensor mm_dtype(const at::Tensor& self, const at::Tensor& other, at::ScalarType dtype);
at::Tensor bmm_dtype(const at::Tensor& self, const at::Tensor& other, at::ScalarType dtype);
at::Tensor addmm_dtype(const at::Tensor&, const at::Tensor& a, const at::Tensor& b, at::ScalarType dtype,
                       const at::Scalar&, const at::Scalar&);
at::Tensor baddbmm_dtype(const at::Tensor&, const at::Tensor& a, const at::Tensor& b, at::ScalarType dtype,
                         const at::Scalar&, const at::Scalar&);
at::Tensor addbmm(const at::Tensor& self, const at::Tensor& a, const at::Tensor& b, const at::Scalar&,
                  const at::Scalar&);
at::Tensor cdist(const at::Tensor& a, const at::Tensor& b, double, std::optional<int64_t>);
at::Tensor cdist_backward(const at::Tensor&, const at::Tensor& a, const at::Tensor& b, double, const at::Tensor&);
at::Tensor cholesky_inverse(const at::Tensor& self, bool);
at::Tensor cholesky_solve(const at::Tensor& self, const at::Tensor& factor, bool);
at::Tensor linalg_eigvals(const at::Tensor& self);
at::Tensor linalg_householder_product(const at::Tensor& self, const at::Tensor&);
at::Tensor linalg_solve_triangular(const at::Tensor& self, const at::Tensor& other, bool, bool, bool);
at::Tensor ormqr(const at::Tensor&, const at::Tensor&, const at::Tensor& other, bool, bool);
Two weight_norm(const at::Tensor& v, const at::Tensor& g, int64_t);

// ---- meta_fused.cpp: taken in a process without Python alone
// ----------------------------------------------------------
Flash flash_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double, bool,
                      bool return_debug_mask, std::optional<double>);
Three flash_attention_backward(const at::Tensor&, const at::Tensor& query, const at::Tensor& key,
                               const at::Tensor& value, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                               const at::Tensor&, c10::SymInt, c10::SymInt, double, bool, const at::Tensor&,
                               const at::Tensor&, std::optional<double>);
Four efficient_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                         const std::optional<at::Tensor>&, bool compute_log_sumexp, double, bool,
                         std::optional<double>);
Four efficient_attention_backward(const at::Tensor&, const at::Tensor& query, const at::Tensor& key,
                                  const at::Tensor& value, const at::Tensor& bias, const at::Tensor&, const at::Tensor&,
                                  const at::Tensor&, const at::Tensor&, double, std::array<bool, 4> mask, bool,
                                  std::optional<double>);
Three lstm_cell(const at::Tensor& input_gates, const at::Tensor&, const at::Tensor& cx,
                const std::optional<at::Tensor>&, const std::optional<at::Tensor>&);
Three lstm_cell_backward(const std::optional<at::Tensor>&, const std::optional<at::Tensor>&, const at::Tensor& cx,
                         const at::Tensor&, const at::Tensor& workspace, bool has_bias);
Two gru_cell(const at::Tensor&, const at::Tensor&, const at::Tensor& hx, const std::optional<at::Tensor>&,
             const std::optional<at::Tensor>&);
Five gru_cell_backward(const at::Tensor& gradient, const at::Tensor& workspace, bool has_bias);
Four mkldnn_rnn_layer(const at::Tensor& input, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                      const at::Tensor&, const at::Tensor& hx, const at::Tensor& cx, bool, at::IntArrayRef, int64_t,
                      int64_t hidden_size, int64_t, bool, bool, bool, bool);
Seven mkldnn_rnn_layer_backward(const at::Tensor& input, const at::Tensor& w0, const at::Tensor& w1,
                                const at::Tensor& w2, const at::Tensor&, const at::Tensor& hx, const at::Tensor& cx,
                                const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                const std::optional<at::Tensor>&, const std::optional<at::Tensor>&,
                                const std::optional<at::Tensor>&, bool, int64_t mode, int64_t hidden_size, int64_t,
                                bool, bool, bool, at::IntArrayRef, bool, const at::Tensor&);
Two rms_norm_backward(const at::Tensor&, const at::Tensor& input, at::IntArrayRef, const at::Tensor&,
                      const std::optional<at::Tensor>& weight, std::array<bool, 2> mask);
Four embedding_bag(const at::Tensor& weight, const at::Tensor& indices, const at::Tensor& offsets, bool, int64_t mode,
                   bool, const std::optional<at::Tensor>&, bool include_last_offset, int64_t);
at::Tensor embedding_bag_backward(const at::Tensor& gradient, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                  const at::Tensor&, const at::Tensor&, c10::SymInt rows, bool, int64_t, bool sparse,
                                  const std::optional<at::Tensor>&, int64_t);
at::Tensor embedding_bag_dense_backward(const at::Tensor& gradient, const at::Tensor&, const at::Tensor&,
                                        const at::Tensor&, const at::Tensor&, c10::SymInt rows, bool, int64_t,
                                        const std::optional<at::Tensor>&, int64_t);
at::Tensor embedding_bag_weights_backward(const at::Tensor& gradient, const at::Tensor&, const at::Tensor& indices,
                                          const at::Tensor&, const at::Tensor&, int64_t, int64_t);

}  // namespace weft::shapes
