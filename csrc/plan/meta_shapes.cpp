#include "plan/meta_shapes.h"

#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>
#include <ATen/MetaFunctions.h>
#include <ATen/OpMathType.h>
#include <ATen/native/ConvUtils.h>
#include <ATen/native/TypeProperties.h>

namespace weft::shapes {
namespace {

at::Tensor like(const at::Tensor& t) { return at::empty(t.sizes(), t.options()); }
at::Tensor formatted_like(const at::Tensor& t) {
  return at::empty(t.sizes(), t.options().memory_format(t.suggest_memory_format()));
}
// A copy in that memory format (absent: the dense strides nearest to its own), of that dtype (absent: its own).
at::Tensor copy_of(const at::Tensor& t, Format format, Dtype dtype) {
  const auto options = t.options().dtype(dtype.value_or(t.scalar_type()));
  if (format && *format != at::MemoryFormat::Preserve) return at::empty(t.sizes(), options.memory_format(*format));
  if (t.is_non_overlapping_and_dense()) return at::empty_strided(t.sizes(), t.strides(), options);
  return at::empty_strided(t.sizes(), at::infer_dense_strides(t.sizes(), t.strides()), options);
}
// Kernels of convolutions follow the input's memory format, or the weight's.
at::MemoryFormat convolution_format(const at::Tensor& input, const at::Tensor& weight) {
  const at::MemoryFormat format = input.suggest_memory_format();
  return format == at::MemoryFormat::Contiguous ? weight.suggest_memory_format() : format;
}
// The gradient of an optional tensor, where it is wanted.
at::Tensor gradient(bool wanted, const std::optional<at::Tensor>& of) {
  return wanted && of && of->defined() ? like(*of) : at::Tensor();
}

}  // namespace

at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>&,
                       c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation,
                       bool transposed, c10::SymIntArrayRef output_padding, c10::SymInt groups) {
  const int64_t spatial = weight.dim() - 2;
  TORCH_CHECK(spatial > 0, "[W068] convolution: a weight of ", weight.dim(), " dimensions");
  auto each = [&](c10::SymIntArrayRef list) {
    auto values = C10_AS_INTARRAYREF_SLOW(list).vec();
    if (values.size() == 1) values.resize(spatial, values[0]);
    return values;
  };
  const auto s = each(stride), p = each(padding), d = each(dilation), o = each(output_padding);
  for (int64_t step : s) TORCH_CHECK(step > 0, "[W068] convolution: non-positive stride is not supported");
  const auto sizes = transposed
                         ? at::native::conv_input_size(input.sizes(), weight.sizes(), p, o, s, d, groups.expect_int())
                         : at::native::conv_output_size(input.sizes(), weight.sizes(), p, s, d);
  return at::empty(sizes, input.options().memory_format(convolution_format(input, weight)));
}

at::Tensor clone(const at::Tensor& self, Format format) { return copy_of(self, format, std::nullopt); }

// Its kernel fills a contiguous copy.
at::Tensor masked_fill_value(const at::Tensor& self, const at::Tensor& mask, const at::Scalar&) {
  return at::empty(at::infer_size(self.sizes(), mask.sizes()), self.options());
}
at::Tensor masked_fill_tensor(const at::Tensor& self, const at::Tensor& mask, const at::Tensor&) {
  return at::empty(at::infer_size(self.sizes(), mask.sizes()), self.options());
}

at::Tensor masked_scatter_backward(const at::Tensor& gradient, const at::Tensor&, c10::SymIntArrayRef sizes) {
  return at::empty(C10_AS_INTARRAYREF_SLOW(sizes), gradient.options());
}

Three convolution_backward(const at::Tensor&, const at::Tensor& input, const at::Tensor& weight,
                           at::OptionalSymIntArrayRef bias, c10::SymIntArrayRef, c10::SymIntArrayRef,
                           c10::SymIntArrayRef, bool, c10::SymIntArrayRef, c10::SymInt, std::array<bool, 3> mask) {
  at::Tensor bias_gradient;
  if (mask[2] && bias) bias_gradient = at::empty(C10_AS_INTARRAYREF_SLOW(*bias), weight.options());
  const auto format = convolution_format(input, weight);
  auto formatted = [&](bool wanted, const at::Tensor& t) {
    return wanted ? at::empty(t.sizes(), t.options().memory_format(format)) : at::Tensor();
  };
  return {formatted(mask[0], input), formatted(mask[1], weight), bias_gradient};
}

Three native_layer_norm(const at::Tensor& input, c10::SymIntArrayRef shape, const std::optional<at::Tensor>&,
                        const std::optional<at::Tensor>&, double) {
  const auto over = C10_AS_INTARRAYREF_SLOW(shape);
  TORCH_CHECK(over.size() <= input.sizes().size() && input.sizes().slice(input.sizes().size() - over.size()) == over,
              "[W068] layer_norm over ", over, " of ", input.sizes());
  auto sizes = input.sizes().vec();
  std::fill(sizes.end() - static_cast<int64_t>(shape.size()), sizes.end(), 1);
  const at::Tensor statistic = at::empty(sizes, input.options());
  return {like(input), statistic, like(statistic)};
}

Three native_layer_norm_backward(const at::Tensor&, const at::Tensor& input, c10::SymIntArrayRef, const at::Tensor&,
                                 const at::Tensor&, const std::optional<at::Tensor>& weight,
                                 const std::optional<at::Tensor>& bias, std::array<bool, 3> mask) {
  return {gradient(mask[0], input), gradient(mask[1], weight), gradient(mask[2], bias)};
}

at::Tensor index_select(const at::Tensor& self, int64_t dim, const at::Tensor& index) {
  auto sizes = self.sizes().vec();
  if (!sizes.empty()) sizes[at::maybe_wrap_dim(dim, self.dim())] = index.numel();
  return at::empty(sizes, self.options());
}

at::Tensor embedding_dense_backward(const at::Tensor& gradient, const at::Tensor&, c10::SymInt rows, c10::SymInt,
                                    bool) {
  return at::empty({rows.expect_int(), gradient.size(-1)}, gradient.options());
}

at::Tensor adaptive_avg_pool2d_backward(const at::Tensor&, const at::Tensor& self) { return formatted_like(self); }

std::tuple<at::Tensor, at::Tensor> attention_on_cpu(const at::Tensor& query, const at::Tensor&, const at::Tensor&,
                                                    double, bool, const std::optional<at::Tensor>&,
                                                    std::optional<double>) {
  const auto dtype = at::toOpMathType(query.scalar_type());
  const at::Tensor sums = at::empty({query.size(0), query.size(2), query.size(1)}, query.options().dtype(dtype));
  return {shapes::clone(query, std::nullopt), sums.transpose(1, 2)};
}
Three attention_on_cpu_backward(const at::Tensor&, const at::Tensor& query, const at::Tensor& key,
                                const at::Tensor& value, const at::Tensor&, const at::Tensor&, double, bool,
                                const std::optional<at::Tensor>&, std::optional<double>) {
  // (batch, sequence, heads, features) in memory.
  auto gradient = [](const at::Tensor& t) { return like(t.transpose(1, 2)).transpose(1, 2); };
  return {gradient(query), gradient(key), gradient(value)};
}

Three native_batch_norm(const at::Tensor& input, const std::optional<at::Tensor>& weight,
                        const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& mean,
                        const std::optional<at::Tensor>& variance, bool training, double, double) {
  auto dtype = input.scalar_type();
  for (const auto* given : {&weight, &bias, &mean, &variance}) {  // beside statistics of more precision
    if (given->has_value() && (*given)->defined()) dtype = at::promote_types(dtype, (*given)->scalar_type());
  }
  const at::Tensor statistic = at::empty({training ? input.size(1) : 0}, input.options().dtype(dtype));
  return {formatted_like(input), statistic, like(statistic)};
}
Three native_batch_norm_backward(const at::Tensor&, const at::Tensor& input, const std::optional<at::Tensor>& weight,
                                 const std::optional<at::Tensor>&, const std::optional<at::Tensor>&,
                                 const std::optional<at::Tensor>&, const std::optional<at::Tensor>&, bool, double,
                                 std::array<bool, 3> mask) {
  return {mask[0] ? formatted_like(input) : at::Tensor(), gradient(mask[1], weight), gradient(mask[2], weight)};
}

Three native_group_norm(const at::Tensor& input, const std::optional<at::Tensor>&, const std::optional<at::Tensor>&,
                        c10::SymInt batch, c10::SymInt, c10::SymInt, int64_t groups, double) {
  const at::Tensor statistic = at::empty({batch.expect_int(), groups}, input.options());
  return {formatted_like(input), statistic, like(statistic)};
}
Three batch_norm_without_training(const at::Tensor& input, const std::optional<at::Tensor>& weight,
                                  const std::optional<at::Tensor>& bias, const at::Tensor& mean,
                                  const at::Tensor& variance, double momentum, double eps) {
  return shapes::native_batch_norm(input, weight, bias, mean, variance, /*training=*/false, momentum, eps);
}

Three native_group_norm_backward(const at::Tensor&, const at::Tensor& input, const at::Tensor&, const at::Tensor&,
                                 const std::optional<at::Tensor>& weight, c10::SymInt, c10::SymInt channels,
                                 c10::SymInt, int64_t, std::array<bool, 3> mask) {
  const at::Tensor bias = mask[2] ? at::empty({channels.expect_int()}, input.options()) : at::Tensor();
  return {mask[0] ? like(input) : at::Tensor(), gradient(mask[1], weight), bias};
}

at::Tensor mse_loss_backward(const at::Tensor&, const at::Tensor& self, const at::Tensor&, int64_t) {
  return like(self);
}

at::Tensor pixel_shuffle(const at::Tensor& self, int64_t factor) {
  TORCH_CHECK(self.dim() >= 3 && factor > 0, "[W068] pixel_shuffle of ", self.sizes(), " by ", factor);
  auto sizes = self.sizes().vec();
  const size_t channels = sizes.size() - 3;
  TORCH_CHECK(sizes[channels] % (factor * factor) == 0, "[W068] pixel_shuffle of ", self.sizes(), " by ", factor);
  sizes[channels] /= factor * factor;
  for (int i = 1; i < 3; ++i) sizes[channels + i] *= factor;
  return at::empty(sizes, self.options().memory_format(self.suggest_memory_format()));
}

at::Tensor reduce_all_meta(const at::Tensor& self) { return at::empty({}, self.options()); }

at::Tensor made_like(const at::Tensor& self, Dtype dtype, std::optional<at::Layout>, std::optional<at::Device>,
                     std::optional<bool>, Format format) {
  return copy_of(self, format, dtype);
}
at::Tensor full_like(const at::Tensor& self, const at::Scalar&, Dtype dtype, std::optional<at::Layout> layout,
                     std::optional<at::Device> device, std::optional<bool> pinned, Format format) {
  return made_like(self, dtype, layout, device, pinned, format);
}
at::Tensor new_empty_meta(const at::Tensor& self, c10::SymIntArrayRef size, Dtype dtype, std::optional<at::Layout>,
                          std::optional<at::Device>, std::optional<bool>) {
  return at::empty(C10_AS_INTARRAYREF_SLOW(size), self.options().dtype(dtype.value_or(self.scalar_type())));
}
at::Tensor new_full(const at::Tensor& self, c10::SymIntArrayRef size, const at::Scalar&, Dtype dtype,
                    std::optional<at::Layout> layout, std::optional<at::Device> device, std::optional<bool> pinned) {
  return new_empty_meta(self, size, dtype, layout, device, pinned);
}
at::Tensor new_empty_strided(const at::Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride, Dtype dtype,
                             std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::empty_strided(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                           self.options().dtype(dtype.value_or(self.scalar_type())));
}

at::Tensor stack(at::TensorList tensors, int64_t dim) {
  TORCH_CHECK(!tensors.empty(), "[W068] stack of no tensors");
  auto sizes = tensors[0].sizes().vec();
  for (const at::Tensor& t : tensors) {
    TORCH_CHECK(t.sizes().equals(sizes), "[W068] stack of shapes ", c10::IntArrayRef(sizes), " and ", t.sizes());
  }
  sizes.insert(sizes.begin() + at::maybe_wrap_dim(dim, tensors[0].dim() + 1), static_cast<int64_t>(tensors.size()));
  return at::empty(sizes, tensors[0].options().dtype(at::native::result_type(tensors)));
}

at::Tensor safe_softmax(const at::Tensor& self, int64_t, Dtype dtype) {
  return at::empty(self.sizes(), self.options().dtype(dtype.value_or(self.scalar_type())));
}

at::Tensor select_backward(const at::Tensor& gradient, c10::SymIntArrayRef sizes, int64_t, c10::SymInt) {
  return at::empty(C10_AS_INTARRAYREF_SLOW(sizes), gradient.options());
}
at::Tensor slice_backward(const at::Tensor& gradient, c10::SymIntArrayRef sizes, int64_t, c10::SymInt, c10::SymInt,
                          c10::SymInt) {
  return at::empty(C10_AS_INTARRAYREF_SLOW(sizes), gradient.options());
}

at::Tensor embedding(const at::Tensor& weight, const at::Tensor& indices, c10::SymInt, bool, bool) {
  TORCH_CHECK(weight.dim() == 2, "[W068] embedding: a weight of ", weight.dim(), " dimensions");
  auto sizes = indices.sizes().vec();
  sizes.push_back(weight.size(1));
  return at::empty(sizes, weight.options());
}

at::Tensor complex_of(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor both = at::meta::add(a, b, 1);
  return at::empty_like(both, both.options().dtype(c10::toComplexType(both.scalar_type())));
}
Two frexp(const at::Tensor& self) {
  return {copy_of(self, std::nullopt, std::nullopt), copy_of(self, std::nullopt, at::kInt)};
}

at::Tensor rot90(const at::Tensor& self, int64_t k, at::IntArrayRef dims) {
  TORCH_CHECK(dims.size() == 2, "[W068] rot90 of ", dims.size(), " dimensions");
  if (k % 4 == 0) return like(self);
  const at::Tensor flipped = copy_of(self, std::nullopt, std::nullopt);
  return k % 2 == 0 ? flipped : flipped.transpose(dims[0], dims[1]);
}

Two geqrf(const at::Tensor& self) {
  TORCH_CHECK(self.dim() >= 2, "[W068] geqrf of ", self.dim(), " dimensions");
  auto sizes = self.sizes().vec();
  const int64_t rows = sizes[sizes.size() - 2], columns = sizes.back();
  std::swap(sizes[sizes.size() - 2], sizes.back());
  const at::Tensor a = at::empty(sizes, self.options()).mT();  // column-major
  sizes.pop_back();
  sizes.back() = std::min(rows, columns);
  return {a, at::empty(sizes, self.options())};
}

Two linalg_eig(const at::Tensor& self) {
  TORCH_CHECK(self.dim() >= 2, "[W068] eig of ", self.dim(), " dimensions");
  const auto options = self.options().dtype(c10::toComplexType(self.scalar_type()));
  return {at::empty(self.sizes().slice(0, self.dim() - 1), options), at::empty(self.sizes(), options).mT()};
}

}  // namespace weft::shapes
