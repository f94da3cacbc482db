// Shapes, strides and dtypes that are told without Python, against what the ops' kernels give.
#include "plan/meta_shapes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "plan/meta_kernels.h"

namespace weft {
namespace {

using Values = std::vector<c10::IValue>;
using Ints = std::vector<int64_t>;

const c10::IValue kNone;

c10::OperatorHandle handle(const std::string& name, const std::string& overload) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(("aten::" + name).c_str(), overload.c_str());
}

at::Tensor as_meta(const at::Tensor& t) {
  return at::empty_strided(t.sizes(), t.strides(), t.options().device(at::kMeta));
}
c10::IValue as_meta(const c10::IValue& v) {
  if (v.isTensor()) return v.toTensor().defined() ? c10::IValue(as_meta(v.toTensor())) : v;
  if (!v.isTensorList()) return v;
  std::vector<at::Tensor> list;
  for (const at::Tensor& t : v.toTensorVector()) list.push_back(as_meta(t));
  return list;
}

// Strides where they matter.
Ints strides_of(const at::Tensor& t) {
  Ints out;
  for (int64_t d = 0; d < t.dim(); ++d) out.push_back(t.size(d) > 1 && t.numel() > 0 ? t.stride(d) : 0);
  return out;
}

void expect_as_run(const std::string& name, const std::string& overload, const Values& arguments) {
  const auto op = handle(name, overload);
  Values run = arguments, told;
  for (const c10::IValue& v : arguments) told.push_back(as_meta(v));
  at::NoGradGuard guard;
  op.callBoxed(&run);
  ASSERT_TRUE(run_compiled_meta(op, told)) << name;
  ASSERT_EQ(told.size(), run.size()) << name;
  for (size_t r = 0; r < run.size(); ++r) {
    const at::Tensor want = run[r].toTensor(), got = told[r].toTensor();
    ASSERT_EQ(got.defined(), want.defined()) << name << " result " << r;
    if (!want.defined()) continue;
    EXPECT_TRUE(got.is_meta()) << name;
    EXPECT_EQ(got.sizes(), want.sizes()) << name << " result " << r;
    EXPECT_EQ(got.scalar_type(), want.scalar_type()) << name << " result " << r;
    EXPECT_EQ(strides_of(got), strides_of(want)) << name << " result " << r;
  }
}

at::Tensor image(at::MemoryFormat format) { return at::ones({2, 4, 9, 6}).contiguous(format); }

constexpr at::MemoryFormat kFormats[] = {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast};

TEST(MetaShapes, Convolution) {
  for (const auto format : kFormats) {
    const at::Tensor x = image(format), weight = at::ones({8, 2, 3, 2}), bias = at::ones({8});
    const Values window{Ints{2, 1}, Ints{1, 0}, Ints{1, 2}, false, Ints{0, 0}, 2};
    Values arguments{x, weight, bias};
    arguments.insert(arguments.end(), window.begin(), window.end());
    expect_as_run("convolution", "", arguments);
    const at::Tensor out = at::convolution(x, weight, bias, {2, 1}, {1, 0}, {1, 2}, false, {0, 0}, 2);
    Values backward{at::ones_like(out), x, weight, Ints{8}};
    backward.insert(backward.end(), window.begin(), window.end());
    for (const auto& mask : {std::vector<bool>{true, true, true}, std::vector<bool>{true, true, false}}) {
      Values call = backward;
      call.emplace_back(c10::List<bool>({mask[0], mask[1], mask[2]}));
      expect_as_run("convolution_backward", "", call);
    }
  }
  expect_as_run("convolution", "",
                {at::ones({2, 4, 9}), at::ones({4, 3, 5}), kNone, Ints{2}, Ints{1}, Ints{1}, true, Ints{1}, 1});
}

TEST(MetaShapes, Normalizations) {
  const c10::List<bool> all({true, true, true}), first({true, false, false});
  const at::Tensor x = at::arange(48, at::kFloat).view({2, 4, 6}), weight = at::ones({4, 6});
  const Values shape{Ints{4, 6}};
  expect_as_run("native_layer_norm", "", {x, shape[0], weight, weight, 1e-5});
  const auto [out, mean, rstd] = at::native_layer_norm(x, {4, 6}, weight, weight, 1e-5);
  for (const auto& mask : {all, first}) {
    expect_as_run("native_layer_norm_backward", "", {out, x, shape[0], mean, rstd, weight, weight, mask});
  }
  const at::Tensor channels = at::ones({4});
  for (const auto format : kFormats) {
    const at::Tensor y = image(format);
    for (const bool training : {true, false}) {
      expect_as_run("native_batch_norm", "",
                    {y, channels, channels, channels.clone(), channels.clone(), training, 0.1, 1e-5});
    }
    const auto [normed, saved, inverse] = at::native_batch_norm(y, channels, channels, {}, {}, true, 0.1, 1e-5);
    for (const auto& mask : {all, first}) {
      expect_as_run("native_batch_norm_backward", "",
                    {normed, y, channels, kNone, kNone, saved, inverse, true, 1e-5, mask});
    }
  }
  const at::Tensor half = image(at::MemoryFormat::Contiguous).to(at::kBFloat16);
  for (const auto dtype : {at::kBFloat16, at::kFloat}) {
    const at::Tensor c = channels.to(dtype);
    expect_as_run("native_batch_norm", "", {half, c, c, c.clone(), c.clone(), true, 0.1, 1e-5});
    expect_as_run("native_batch_norm", "", {half, c, c, kNone, kNone, true, 0.1, 1e-5});
  }
  const at::Tensor y = image(at::MemoryFormat::Contiguous), statistics = at::ones({2, 2});
  expect_as_run("native_group_norm_backward", "", {y, y, statistics, statistics, channels, 2, 4, 54, 2, all});
}

TEST(MetaShapes, Pooling) {
  for (const auto format : kFormats) {
    const at::Tensor x = image(format);
    expect_as_run("_adaptive_avg_pool2d", "", {x, Ints{3, 2}});
    expect_as_run("_adaptive_avg_pool2d_backward", "", {at::_adaptive_avg_pool2d(x, {3, 2}), x});
    expect_as_run("pixel_shuffle", "", {x, 2});
  }
  const auto [pooled, places] = at::max_pool2d_with_indices(at::arange(48, at::kFloat).view({1, 2, 4, 6}), {2, 2});
  expect_as_run("max_unpool2d", "", {pooled, places, Ints{4, 6}});
}

TEST(MetaShapes, Attention) {
  const at::Tensor x = at::ones({2, 3, 5, 8});
  expect_as_run("_scaled_dot_product_flash_attention_for_cpu", "", {x, x, x, 0.0, true, kNone, kNone});
  const auto [out, sums] = at::_scaled_dot_product_flash_attention_for_cpu(x, x, x, 0.0, true);
  expect_as_run("_scaled_dot_product_flash_attention_for_cpu_backward", "",
                {out, x, x, x, out, sums, 0.0, true, kNone, kNone});
  expect_as_run("_safe_softmax", "", {x, -1, at::kDouble});
  expect_as_run("_safe_softmax", "", {x, 1, kNone});
}

TEST(MetaShapes, Indexing) {
  const at::Tensor weight = at::ones({7, 3}), index = at::tensor({1, 5, 0, 6}, at::kLong);
  expect_as_run("embedding", "", {weight, index.view({2, 2}), -1, false, false});
  expect_as_run("embedding_dense_backward", "", {at::ones({2, 2, 3}), index.view({2, 2}), 7, -1, false});
  for (const int64_t dim : {0, -2}) expect_as_run("index_select", "", {weight, dim, index});
  expect_as_run("select_backward", "", {at::ones({7}), Ints{7, 3}, 1, 2});
  expect_as_run("slice_backward", "", {at::ones({2, 3}), Ints{7, 3}, 0, 1, 5, 2});
  const at::Tensor mask = at::ones({3}, at::kBool);
  expect_as_run("masked_fill", "Scalar", {weight, mask, 2});
  expect_as_run("masked_fill", "Tensor", {weight.t(), mask.view({3, 1}), at::scalar_tensor(2)});
}

TEST(MetaShapes, CopiesAndWhatIsMadeLikeATensor) {
  const at::Tensor x = at::ones({4, 3, 2}).permute({2, 0, 1}), gaps = at::ones({4, 6}).slice(1, 0, 6, 2);
  const auto channels_last = static_cast<int64_t>(at::MemoryFormat::ChannelsLast);
  for (const at::Tensor& t : {x, gaps}) {
    expect_as_run("clone", "", {t, kNone});
    expect_as_run("empty_like", "", {t, kNone, kNone, kNone, kNone, kNone});
    expect_as_run("full_like", "", {t, 2, at::kDouble, kNone, kNone, kNone, kNone});
    expect_as_run("new_zeros", "", {t, Ints{2, 5}, kNone, kNone, kNone, kNone});
    expect_as_run("new_full", "", {t, Ints{5}, 2, at::kLong, kNone, kNone, kNone});
    expect_as_run("new_empty_strided", "", {t, Ints{2, 5}, Ints{1, 2}, kNone, kNone, kNone, kNone});
  }
  expect_as_run("clone", "", {image(at::MemoryFormat::Contiguous), channels_last});
  expect_as_run("stack", "", {std::vector<at::Tensor>{at::ones({2, 3}), at::ones({2, 3}, at::kDouble)}, -1});
  expect_as_run("mse_loss_backward", "", {at::ones({}), at::ones({2, 3}), at::ones({2, 3}), 1});
}

TEST(MetaShapes, Factorizations) {
  const at::Tensor tall = at::rand({2, 5, 3}, at::kDouble), square = at::rand({2, 3, 3}, at::kDouble);
  expect_as_run("geqrf", "", {tall});
  expect_as_run("geqrf", "", {tall.mT().contiguous()});
  expect_as_run("linalg_eig", "", {square});
}

TEST(MetaShapes, RefusesWhatTheOpWouldRefuse) {
  const auto meta = [](at::IntArrayRef sizes) { return at::empty(sizes, at::TensorOptions().device(at::kMeta)); };
  EXPECT_THROW(shapes::pixel_shuffle(meta({2, 6, 3, 3}), 2), c10::Error);
  EXPECT_THROW(shapes::embedding(meta({7}), meta({2}), -1, false, false), c10::Error);
  EXPECT_THROW(shapes::stack(std::vector<at::Tensor>{meta({2}), meta({3})}, 0), c10::Error);
  EXPECT_THROW(shapes::geqrf(meta({4})), c10::Error);
}

TEST(MetaShapes, LeavesTheArgumentsWhereNothingTells) {
  Values stack{as_meta(at::ones({3}))};
  EXPECT_FALSE(run_compiled_meta(handle("nonzero", ""), stack));
  EXPECT_EQ(stack.at(0).toTensor().sizes(), at::IntArrayRef{3});
}

}  // namespace
}  // namespace weft
