// Ops on each shard of a split dimension in turn, against the op on the full tensor.
#include "local/local_call.h"

#include <ATen/ATen.h>
#include <ATen/TensorIndexing.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "layout/shard.h"
#include "local/causal.h"
#include "local/masked.h"
#include "support/outcome.h"

namespace weft {
namespace {

using ::testing::HasSubstr;

OpInfo op(const char* name) { return OpInfo(c10::Dispatcher::singleton().findSchemaOrThrow(name, "")); }

at::Tensor longs(const std::vector<int64_t>& values) { return at::tensor(values); }

struct Part {
  int64_t start, length;
};
std::vector<Part> parts_of(int64_t size, int64_t parts) {
  std::vector<Part> out;
  for (int64_t p = 0; p < parts; ++p) out.push_back({chunk_start(size, parts, p), chunk_length(size, parts, p)});
  return out;
}

std::vector<c10::IValue> run(const LocalCall& call, const OpInfo& op, std::vector<c10::IValue> stack) {
  call.run(op, DeviceMesh::get({1}, {"x"}), stack);
  return stack;
}

TEST(MaskedCall, PartsOfAnEmbeddingAddUp) {
  const OpInfo embedding = op("aten::embedding");
  for (const int64_t rows : {7, 5}) {  // of 5 the last of four ranks has none
    const at::Tensor weight = at::arange(rows * 3, at::kFloat).view({rows, 3}) + 1;
    const at::Tensor index = longs({0, 4, 2, 4, 1, 3}).view({2, 3});
    at::Tensor sum = at::zeros({2, 3, 3});
    for (const Part& part : parts_of(rows, 4)) {
      const MaskedCall call({.index = 1, .after = 1, .tables = {{0, 0}}}, part.start, part.length, rows);
      const auto out = run(call, embedding, {weight.narrow(0, part.start, part.length), index, -1, false, false});
      sum += out.at(0).toTensor();
    }
    EXPECT_TRUE(at::equal(sum, at::embedding(weight, index)));
  }
}

TEST(MaskedCall, PartsOfAnIndexedDimensionAddUp) {
  const OpInfo select = op("aten::index_select");
  const OpInfo index(c10::Dispatcher::singleton().findSchemaOrThrow("aten::index", "Tensor"));
  const at::Tensor table = at::arange(4 * 7 * 3, at::kFloat).view({4, 7, 3}) + 1;
  const at::Tensor chosen = longs({0, 6, 2, 2}), from_the_end = longs({-1, 6, -7, 3}).view({2, 2});
  at::Tensor selected = at::zeros({4, 4, 3}), indexed = at::zeros({4, 2, 2, 3});
  for (const Part& part : parts_of(7, 3)) {
    const at::Tensor shard = table.narrow(1, part.start, part.length);
    const MaskedCall one({.index = 2, .after = 1, .tables = {{0, 1}}}, part.start, part.length, 7);
    selected += run(one, select, {shard, 1, chosen}).at(0).toTensor();
    const MaskedCall listed({.index = 1, .element = 1, .wraps = true, .after = 1, .tables = {{0, 1}}}, part.start,
                            part.length, 7);
    const c10::List<std::optional<at::Tensor>> list({std::nullopt, from_the_end});
    indexed += run(listed, index, {shard, list}).at(0).toTensor();
  }
  EXPECT_TRUE(at::equal(selected, table.index_select(1, chosen)));
  EXPECT_TRUE(at::equal(indexed, table.index({at::indexing::Slice(), from_the_end})));
}

TEST(MaskedCall, LeavesOutTheIgnoredIndex) {
  const OpInfo nll = op("aten::nll_loss_forward");
  constexpr int64_t kSum = 2, kClasses = 7, kIgnored = 3;
  const at::Tensor scores = at::arange(4 * kClasses, at::kFloat).view({4, kClasses}).sin();
  const at::Tensor target = longs({0, kIgnored, 6, 2});
  at::Tensor loss = at::zeros({}), weight = at::zeros({});
  for (const Part& part : parts_of(kClasses, 3)) {
    const MaskedCall call({.index = 1, .ignored = 4}, part.start, part.length, kClasses);
    const auto out = run(call, nll, {scores.narrow(1, part.start, part.length), target, c10::IValue(), kSum, kIgnored});
    loss += out.at(0).toTensor();
    weight += out.at(1).toTensor();
  }
  const auto [whole, whole_weight] = at::nll_loss_forward(scores, target, {}, kSum, kIgnored);
  EXPECT_TRUE(at::allclose(loss, whole));
  EXPECT_TRUE(at::equal(weight, whole_weight));
  const MaskedCall last({.index = 1, .ignored = 4}, 6, 1, kClasses);  // bytes are targets, too
  const auto of_bytes = run(last, nll, {scores.narrow(1, 6, 1), target.to(at::kByte), c10::IValue(), kSum, -100});
  EXPECT_TRUE(at::allclose(of_bytes.at(0).toTensor(), -scores[2][6]));
}

TEST(MaskedCall, NamesAnIndexThatNoRankHolds) {
  const OpInfo embedding = op("aten::embedding");
  for (const int64_t wrong : {7, -1}) {
    const MaskedCall call({.index = 1, .after = 1, .tables = {{0, 0}}}, 0, 3, 7);
    const std::string error = test::error_of<c10::IndexError>(
        [&] { run(call, embedding, {at::zeros({3, 2}), longs({0, wrong}), -1, false, false}); });
    EXPECT_THAT(error, HasSubstr("[embedding] index out of range: " + std::to_string(wrong) + " is not in [0, 7)"));
  }
}

TEST(CausalCall, EachQuerySeesTheKeysUpToItsPlace) {
  const OpInfo attention = op("aten::_scaled_dot_product_flash_attention_for_cpu");
  constexpr int64_t kLength = 7;
  const auto made = [](double step) { return (at::arange(2 * 3 * kLength * 4) * step).sin().view({2, 3, kLength, 4}); };
  const at::Tensor query = made(0.7).to(at::kFloat), key = made(1.3).to(at::kFloat), value = made(2.1).to(at::kFloat);
  const at::Tensor whole =
      std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, /*is_causal=*/true));
  for (const Part& part : parts_of(kLength, 3)) {
    const CausalCall call(Rows{part.start, part.start + part.length});
    const auto out =
        run(call, attention,
            {query.narrow(2, part.start, part.length), key, value, 0.0, true, c10::IValue(), c10::IValue()});
    EXPECT_TRUE(at::allclose(out.at(0).toTensor(), whole.narrow(2, part.start, part.length), 1e-5, 1e-6));
  }
}

TEST(CausalCall, GradientsOfItsPartsAddUp) {
  const OpInfo backward = op("aten::_scaled_dot_product_flash_attention_for_cpu_backward");
  constexpr int64_t kLength = 6;
  const auto made = [](double step) {
    return (at::arange(2 * kLength * 4) * step).sin().view({1, 2, kLength, 4}).to(at::kFloat);
  };
  const at::Tensor query = made(0.7), key = made(1.3), value = made(2.1), grad = made(3.1);
  const auto [out, sums] = at::_scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, true);
  const auto [grad_query, grad_key, grad_value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      grad, query, key, value, out, sums, 0.0, /*is_causal=*/true);
  at::Tensor of_keys = at::zeros_like(key), of_values = at::zeros_like(value);
  for (const Part& part : parts_of(kLength, 2)) {
    const auto cut = [&](const at::Tensor& t) { return t.narrow(2, part.start, part.length).contiguous(); };
    const CausalCall call(Rows{part.start, part.start + part.length});
    const auto got =
        run(call, backward,
            {cut(grad), cut(query), key, value, cut(out), cut(sums), 0.0, true, c10::IValue(), c10::IValue()});
    EXPECT_TRUE(at::allclose(got.at(0).toTensor(), cut(grad_query), 1e-4, 1e-5));
    of_keys += got.at(1).toTensor();
    of_values += got.at(2).toTensor();
  }
  EXPECT_TRUE(at::allclose(of_keys, grad_key, 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(of_values, grad_value, 1e-4, 1e-5));
}

}  // namespace
}  // namespace weft
