#include "composites/transformer_layers.h"

#include <ATen/Functions.h>
#include <weft/tensor.h>

#include <array>
#include <cmath>
#include <optional>
#include <tuple>

#include "plan/gather.h"
#include "redistribute/tensors.h"
#include "tensor/key.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

// Core's numbers for what a mask is about: of one sequence's pairs, of the keys of each sequence, of all there is.
enum MaskType : int64_t { kOfPairs = 0, kOfKeys = 1, kOfAll = 2 };

// [batch, heads, length, head size] each, from [batch, length, width].
std::array<at::Tensor, 3> project(const std::array<at::Tensor, 3>& inputs, int64_t heads, const at::Tensor& weight,
                                  const at::Tensor& bias) {
  std::array<at::Tensor, 3> out;
  if (inputs[0].is_same(inputs[1]) && inputs[1].is_same(inputs[2])) {
    const at::Tensor all = at::linear(inputs[0], weight, bias).unflatten(-1, {3, -1});
    for (int64_t i = 0; i < 3; ++i) out[i] = all.select(2, i);
  } else {
    const auto weights = weight.chunk(3), biases = bias.chunk(3);
    for (int64_t i = 0; i < 3; ++i) out[i] = at::linear(inputs[i], weights[i], biases[i]);
  }
  for (at::Tensor& t : out) t = t.unflatten(-1, {heads, -1}).transpose(1, 2);
  return out;
}

// Which pairs see each other, to be broadcast to [batch, heads, length, length]; core's masks say which do not.
OptionalTensor seen(const OptionalTensor& mask, std::optional<int64_t> type) {
  if (!mask || !mask->defined()) return std::nullopt;
  TORCH_CHECK(type, "[W068] [_native_multi_head_attention] a mask without a mask_type");
  const at::Tensor seen = mask->to(at::kBool).logical_not();
  return *type == kOfKeys ? seen.unsqueeze(1).unsqueeze(1) : seen;
}

// A nested tensor of [length, width] parts: what it is padded, and which places are padding.
struct Padded {
  explicit Padded(const at::Tensor& nested) : values(nested.to_padded_tensor(0.0)) {
    const at::Tensor lengths = nested._nested_tensor_size().select(1, 0).to(values.device());
    padding = at::arange(values.size(1), lengths.options()).unsqueeze(0).ge(lengths.unsqueeze(1));
  }
  at::Tensor nest(const at::Tensor& result) const {
    return at::_nested_tensor_from_mask(full_or_alias(result), padding.logical_not(), /*mask_check=*/false);
  }
  at::Tensor values, padding;
};

void check_no_mask(const char* op, const OptionalTensor& mask) {
  TORCH_CHECK(!mask || !mask->defined(), "[W068] [", op, "] nested tensors take no mask");
}

std::tuple<at::Tensor, at::Tensor> attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                             int64_t embed_dim, int64_t heads, const at::Tensor& qkv_weight,
                                             const at::Tensor& qkv_bias, const at::Tensor& proj_weight,
                                             const at::Tensor& proj_bias, const OptionalTensor& mask, bool need_weights,
                                             bool average_weights, std::optional<int64_t> mask_type) {
  if (query.is_nested() || key.is_nested() || value.is_nested()) {
    constexpr const char* kOp = "_native_multi_head_attention";
    check_no_mask(kOp, mask);
    TORCH_CHECK_NOT_IMPLEMENTED(query.is_same(key) && key.is_same(value), "[W064] [", kOp,
                                "] nested tensors with sharded weights: self-attention only; give padded tensors and a "
                                "key_padding_mask, or gather the weights with weft.full_tensor");
    const Padded padded(query);
    const auto [result, weights] =
        attention(padded.values, padded.values, padded.values, embed_dim, heads, qkv_weight, qkv_bias, proj_weight,
                  proj_bias, padded.padding, need_weights, average_weights, kOfKeys);
    return {padded.nest(result), weights.defined() ? full_or_alias(weights) : weights};
  }
  const auto [q, k, v] = project({query, key, value}, heads, qkv_weight, qkv_bias);
  const OptionalTensor pairs = seen(mask, mask_type);
  at::Tensor context, weights;
  if (need_weights) {
    at::Tensor scores = at::matmul(q / std::sqrt(static_cast<double>(q.size(-1))), k.transpose(-2, -1));
    if (pairs) scores = scores.masked_fill(pairs->logical_not(), -INFINITY);
    weights = scores.softmax(-1);
    context = at::matmul(weights, v);
    if (average_weights) weights = weights.mean(1);
  } else {
    context = at::scaled_dot_product_attention(q, k, v, pairs);
    // Zeros of who sees nothing; of core's fused layers it is NaN.
    if (pairs) context = context.masked_fill(pairs->any(-1, true).logical_not(), NAN);
  }
  return {at::linear(context.transpose(1, 2).flatten(2), proj_weight, proj_bias), weights};
}

at::Tensor encoder_layer(const at::Tensor& src, int64_t embed_dim, int64_t heads, const at::Tensor& qkv_weight,
                         const at::Tensor& qkv_bias, const at::Tensor& proj_weight, const at::Tensor& proj_bias,
                         bool use_gelu, bool norm_first, double eps, const at::Tensor& norm_weight_1,
                         const at::Tensor& norm_bias_1, const at::Tensor& norm_weight_2, const at::Tensor& norm_bias_2,
                         const at::Tensor& ffn_weight_1, const at::Tensor& ffn_bias_1, const at::Tensor& ffn_weight_2,
                         const at::Tensor& ffn_bias_2, const OptionalTensor& mask, std::optional<int64_t> mask_type) {
  if (src.is_nested()) {
    check_no_mask("_transformer_encoder_layer_fwd", mask);
    const Padded padded(src);
    return padded.nest(encoder_layer(padded.values, embed_dim, heads, qkv_weight, qkv_bias, proj_weight, proj_bias,
                                     use_gelu, norm_first, eps, norm_weight_1, norm_bias_1, norm_weight_2, norm_bias_2,
                                     ffn_weight_1, ffn_bias_1, ffn_weight_2, ffn_bias_2, padded.padding, kOfKeys));
  }
  const auto norm_1 = [&](const at::Tensor& x) {
    return at::layer_norm(x, {embed_dim}, norm_weight_1, norm_bias_1, eps);
  };
  const auto norm_2 = [&](const at::Tensor& x) {
    return at::layer_norm(x, {embed_dim}, norm_weight_2, norm_bias_2, eps);
  };
  const auto attend = [&](const at::Tensor& x) {
    return std::get<0>(attention(x, x, x, embed_dim, heads, qkv_weight, qkv_bias, proj_weight, proj_bias, mask,
                                 /*need_weights=*/false, /*average_weights=*/true, mask_type));
  };
  const auto feed_forward = [&](const at::Tensor& x) {
    const at::Tensor inner = at::linear(x, ffn_weight_1, ffn_bias_1);
    return at::linear(use_gelu ? at::gelu(inner) : inner.relu(), ffn_weight_2, ffn_bias_2);
  };
  if (norm_first) {
    const at::Tensor x = src + attend(norm_1(src));
    return x + feed_forward(norm_2(x));
  }
  const at::Tensor x = norm_1(src + attend(src));
  return norm_2(x + feed_forward(x));
}

// nn.TransformerEncoder asks it before it makes a nested tensor: it is to go on with the padded one.
bool left_aligned(const at::Tensor& /*values*/, const at::Tensor& /*mask*/) { return false; }

// Without having asked.
at::Tensor from_mask(const at::Tensor& values, const at::Tensor& mask, bool mask_check) {
  warn_gather("_nested_tensor_from_mask", "nested tensors cannot be sharded",
              bytes_to_gather(values) + bytes_to_gather(mask));
  return at::_nested_tensor_from_mask(full_or_alias(values), full_or_alias(mask), mask_check);
}

}  // namespace

void register_transformer_layers(std::vector<std::unique_ptr<torch::Library>>& libraries) {
  const auto library_at = [&](c10::DispatchKey key) -> torch::Library& {
    return *libraries.emplace_back(
        std::make_unique<torch::Library>(torch::Library::IMPL, "aten", key, __FILE__, __LINE__));
  };
  for (const c10::DispatchKey key : {kKey, kAutogradKey}) {
    torch::Library& library = library_at(key);
    library.impl("_native_multi_head_attention", TORCH_FN(attention));
    library.impl("_transformer_encoder_layer_fwd", TORCH_FN(encoder_layer));
    library.impl("_nested_tensor_from_mask", TORCH_FN(from_mask));
    library.impl("_nested_tensor_from_mask_left_aligned", TORCH_FN(left_aligned));
  }
  torch::Library& nested = library_at(mixed_key(c10::DispatchKey::NestedTensor));
  nested.impl("_native_multi_head_attention", TORCH_FN(attention));
  nested.impl("_transformer_encoder_layer_fwd", TORCH_FN(encoder_layer));
}

}  // namespace weft
