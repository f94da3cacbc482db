// As core's Python tells them: what kernels of one device keep for backward differs from that on others.
#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>

#include "plan/meta_shapes.h"

namespace weft::shapes {
namespace {

at::Tensor dense_like(const at::Tensor& t) { return at::empty(t.sizes(), t.options()); }
// Features of heads side by side in memory.
at::Tensor heads_inside(at::IntArrayRef sizes, const at::TensorOptions& options) {
  return at::empty({sizes[0], sizes[2], sizes[1], sizes[3]}, options).transpose(1, 2);
}
void check_heads(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  for (const at::Tensor* t : {&query, &key, &value}) {
    TORCH_CHECK(t->dim() == 4, "[W068] attention: of ", t->dim(), " dimensions, not 4");
  }
}
at::Tensor number(const at::Tensor& t, at::ScalarType dtype) { return at::empty({}, t.options().dtype(dtype)); }

}  // namespace

Flash flash_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double, bool,
                      bool return_debug_mask, std::optional<double>) {
  check_heads(query, key, value);
  TORCH_CHECK(!return_debug_mask, "[W068] attention: return_debug_mask");
  auto sizes = query.sizes().vec();
  sizes.back() = value.size(3);
  const at::Tensor out = at::empty_strided(sizes, at::infer_dense_strides(sizes, query.strides()), query.options());
  const at::Tensor sums = at::empty(query.sizes().slice(0, 3), query.options().dtype(at::kFloat));
  return {out,
          sums,
          at::Tensor(),
          at::Tensor(),
          query.size(2),
          key.size(2),
          at::empty({2}, query.options().dtype(at::kUInt64)),
          number(query, at::kUInt64),
          at::empty({0}, query.options())};
}
Three flash_attention_backward(const at::Tensor&, const at::Tensor& query, const at::Tensor& key,
                               const at::Tensor& value, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                               const at::Tensor&, c10::SymInt, c10::SymInt, double, bool, const at::Tensor&,
                               const at::Tensor&, std::optional<double>) {
  return {at::empty_like(query), at::empty_like(key), at::empty_like(value)};
}

Four efficient_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                         const std::optional<at::Tensor>&, bool compute_log_sumexp, double, bool,
                         std::optional<double>) {
  constexpr int64_t kBlock = 32;  // queries
  check_heads(query, key, value);
  auto sizes = query.sizes().vec();
  sizes.back() = value.size(3);
  const int64_t rows = compute_log_sumexp ? (query.size(2) + kBlock - 1) / kBlock * kBlock : 0;
  return {heads_inside(sizes, query.options()),
          at::empty({query.size(0), query.size(1), rows}, query.options().dtype(at::kFloat)), number(query, at::kLong),
          number(query, at::kLong)};
}
Four efficient_attention_backward(const at::Tensor&, const at::Tensor& query, const at::Tensor& key,
                                  const at::Tensor& value, const at::Tensor& bias, const at::Tensor&, const at::Tensor&,
                                  const at::Tensor&, const at::Tensor&, double, std::array<bool, 4> mask, bool,
                                  std::optional<double>) {
  constexpr int64_t kAligned = 16;  // elements
  at::Tensor of_bias;
  if (bias.defined() && mask[3]) {
    auto sizes = bias.sizes().vec();
    sizes.back() = (sizes.back() + kAligned - 1) / kAligned * kAligned;
    of_bias = at::empty(sizes, bias.options()).slice(-1, 0, bias.size(-1));
  }
  return {heads_inside(query.sizes(), query.options()), heads_inside(key.sizes(), key.options()),
          heads_inside(value.sizes(), value.options()), of_bias};
}

Three lstm_cell(const at::Tensor& input_gates, const at::Tensor&, const at::Tensor& cx,
                const std::optional<at::Tensor>&, const std::optional<at::Tensor>&) {
  return {dense_like(cx), dense_like(cx), dense_like(input_gates)};
}
Three lstm_cell_backward(const std::optional<at::Tensor>&, const std::optional<at::Tensor>&, const at::Tensor& cx,
                         const at::Tensor&, const at::Tensor& workspace, bool has_bias) {
  return {dense_like(workspace), dense_like(cx),
          has_bias ? at::empty({workspace.size(1)}, workspace.options()) : at::Tensor()};
}
Two gru_cell(const at::Tensor&, const at::Tensor&, const at::Tensor& hx, const std::optional<at::Tensor>&,
             const std::optional<at::Tensor>&) {
  constexpr int64_t kKept = 5;  // gates and what they are made of
  return {dense_like(hx), at::empty({hx.size(0), hx.size(1) * kKept}, hx.options())};
}
Five gru_cell_backward(const at::Tensor& gradient, const at::Tensor& workspace, bool has_bias) {
  const at::Tensor gates = at::empty({gradient.size(0), gradient.size(1) * 3}, workspace.options());
  const auto bias = [&] { return has_bias ? at::empty({gates.size(1)}, gates.options()) : at::Tensor(); };
  return {gates, dense_like(gates), dense_like(gradient), bias(), bias()};
}

Four mkldnn_rnn_layer(const at::Tensor& input, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                      const at::Tensor&, const at::Tensor& hx, const at::Tensor& cx, bool, at::IntArrayRef, int64_t,
                      int64_t hidden_size, int64_t, bool, bool, bool, bool) {
  return {at::empty({input.size(0), input.size(1), hidden_size}, input.options()), dense_like(hx), dense_like(cx),
          at::empty({0}, input.options().dtype(at::kByte))};
}
Seven mkldnn_rnn_layer_backward(const at::Tensor& input, const at::Tensor& w0, const at::Tensor& w1,
                                const at::Tensor& w2, const at::Tensor&, const at::Tensor& hx, const at::Tensor& cx,
                                const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                const std::optional<at::Tensor>&, const std::optional<at::Tensor>&,
                                const std::optional<at::Tensor>&, bool, int64_t mode, int64_t hidden_size, int64_t,
                                bool, bool, bool, at::IntArrayRef, bool, const at::Tensor&) {
  constexpr int64_t kGru = 3;  // whose two biases are shuffled into one of four gates
  const auto of = [](const at::Tensor& t) { return at::empty(t.sizes(), t.options().dtype(at::kFloat)); };
  const at::Tensor bias = mode == kGru ? at::empty({4 * hidden_size}, w2.options().dtype(at::kFloat))
                                       : at::empty({w2.size(0)}, w2.options().dtype(at::kFloat));
  return {of(input), of(w0), of(w1), bias, dense_like(bias), of(hx), of(cx)};
}

Two rms_norm_backward(const at::Tensor&, const at::Tensor& input, at::IntArrayRef, const at::Tensor&,
                      const std::optional<at::Tensor>& weight, std::array<bool, 2> mask) {
  return {mask[0] ? at::empty_like(input) : at::Tensor(),
          mask[1] && weight && weight->defined() ? at::empty_like(*weight) : at::Tensor()};
}

Four embedding_bag(const at::Tensor& weight, const at::Tensor& indices, const at::Tensor& offsets, bool, int64_t mode,
                   bool, const std::optional<at::Tensor>&, bool include_last_offset, int64_t) {
  constexpr int64_t kMax = 2;
  TORCH_CHECK(weight.dim() == 2 && indices.dim() == 1 && offsets.dim() == 1 && offsets.size(0) >= include_last_offset,
              "[W068] embedding_bag of ", weight.sizes(), ", ", indices.sizes(), " and ", offsets.sizes());
  const int64_t bags = offsets.size(0) - (include_last_offset ? 1 : 0);
  return {at::empty({bags, weight.size(1)}, weight.options()), dense_like(indices),
          at::empty(offsets.sizes(), indices.options()),
          mode == kMax ? at::empty({bags, weight.size(1)}, indices.options()) : at::empty({0}, indices.options())};
}
at::Tensor embedding_bag_backward(const at::Tensor& gradient, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                  const at::Tensor&, const at::Tensor&, c10::SymInt rows, bool, int64_t, bool sparse,
                                  const std::optional<at::Tensor>&, int64_t) {
  TORCH_CHECK(!sparse, "[W068] embedding_bag: a sparse gradient");
  return at::empty({rows.expect_int(), gradient.size(1)}, gradient.options());
}
at::Tensor embedding_bag_dense_backward(const at::Tensor& gradient, const at::Tensor&, const at::Tensor&,
                                        const at::Tensor&, const at::Tensor&, c10::SymInt rows, bool, int64_t,
                                        const std::optional<at::Tensor>&, int64_t) {
  return at::empty({rows.expect_int(), gradient.size(1)}, gradient.options());
}
at::Tensor embedding_bag_weights_backward(const at::Tensor& gradient, const at::Tensor&, const at::Tensor& indices,
                                          const at::Tensor&, const at::Tensor&, int64_t, int64_t) {
  return at::empty({indices.size(0)}, gradient.options());
}

}  // namespace weft::shapes
