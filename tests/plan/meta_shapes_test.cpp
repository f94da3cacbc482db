// Shapes, strides and dtypes that are told without Python, against what the ops' kernels give.
#include "plan/meta_shapes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <sstream>

#include "plan/meta_kernels.h"
#include "rules/registry.h"

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

void expect_as_run(const std::string& name, const std::string& overload, const Values& arguments,
                   size_t results = std::numeric_limits<size_t>::max()) {
  const auto op = handle(name, overload);
  Values run = arguments, told;
  for (const c10::IValue& v : arguments) told.push_back(as_meta(v));
  at::NoGradGuard guard;
  op.callBoxed(&run);
  ASSERT_TRUE(run_compiled_meta(op, told, true)) << name;
  ASSERT_EQ(told.size(), run.size()) << name;
  for (size_t r = 0; r < std::min(run.size(), results); ++r) {
    const at::Tensor want = run[r].toTensor(), got = told[r].toTensor();
    ASSERT_EQ(got.defined(), want.defined()) << name << " result " << r;
    if (!want.defined()) continue;
    EXPECT_TRUE(got.is_meta()) << name;
    EXPECT_EQ(got.sizes(), want.sizes()) << name << " result " << r;
    EXPECT_EQ(got.scalar_type(), want.scalar_type()) << name << " result " << r;
    EXPECT_EQ(strides_of(got), strides_of(want)) << name << " result " << r;
  }
}

// Beside the first result is what this device's kernel needs for backward.
void expect_first_as_run(const std::string& name, const Values& arguments) { expect_as_run(name, "", arguments, 1); }

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
  for (const auto format : kFormats) {
    expect_as_run("native_group_norm", "", {image(format), channels, channels, 2, 4, 54, 2, 1e-5});
    expect_as_run("_native_batch_norm_legit_no_training", "",
                  {image(format), channels, channels, channels, channels, 0.1, 1e-5});
  }
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
  expect_as_run("masked_scatter", "", {weight.t(), mask.view({3, 1}), at::ones({4, 9})});
  expect_as_run("masked_scatter_backward", "", {weight, mask, std::vector<int64_t>{4, 9}});
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

// Each in contiguous memory, in that of channels last, and turned around.
std::vector<at::Tensor> in_memory_of_each_kind(at::IntArrayRef sizes) {
  const at::Tensor t = at::rand(sizes, at::kDouble);
  std::vector<at::Tensor> kinds{t, t.mT().contiguous().mT()};
  if (t.dim() == 4) kinds.push_back(t.contiguous(at::MemoryFormat::ChannelsLast));
  if (t.dim() == 5) kinds.push_back(t.contiguous(at::MemoryFormat::ChannelsLast3d));
  return kinds;
}

TEST(MetaShapes, Reductions) {
  for (const at::Tensor& x : in_memory_of_each_kind({3, 4, 5, 2})) {
    expect_as_run("prod", "", {x, kNone});
    expect_as_run("prod", "", {x.to(at::kInt), kNone});
    for (const c10::IValue& dim : {c10::IValue(Ints{1, -1}), kNone}) {
      expect_as_run("nansum", "", {x, dim, false, kNone});
      for (const bool keep : {true, false}) {
        expect_as_run("std", "correction", {x, dim, kNone, keep});
        expect_as_run("var", "correction", {at::complex(x, x), dim, 1, keep});
        expect_as_run("std_mean", "correction", {x, dim, 0, keep});
        expect_as_run("var_mean", "correction", {at::complex(x, x), dim, kNone, keep});
        expect_as_run("mode", "", {x, 2, keep});
      }
    }
    expect_as_run("count_nonzero", "dim_IntList", {x, Ints{0, 2}});
    expect_as_run("count_nonzero", "", {x, kNone});
    expect_as_run("count_nonzero", "", {x, 1});
    for (const bool keep : {true, false}) {
      expect_as_run("logsumexp", "", {x, Ints{1, -1}, keep});
      expect_as_run("logsumexp", "", {x.to(at::kInt), Ints{1}, keep});
      expect_as_run("median", "dim", {x, 2, keep});
      expect_as_run("nanmedian", "dim", {x, -1, keep});
      expect_as_run("kthvalue", "", {x, 2, 1, keep});
    }
    expect_as_run("cummax", "", {x, 1});
    expect_as_run("cummin", "", {x, -1});
    expect_as_run("logcumsumexp", "", {x, 1});
    const at::Tensor bounds = at::arange(3, at::kDouble);
    for (const bool narrow : {true, false}) {
      expect_as_run("bucketize", "Tensor", {x, bounds, narrow, false});
      expect_as_run("bucketize", "Scalar", {1.5, bounds, narrow, false});
      expect_as_run("searchsorted", "Tensor", {bounds, x, narrow, false, kNone, kNone});
    }
  }
  expect_as_run("trace", "", {at::ones({3, 4}, at::kInt)});
  expect_as_run("dot", "", {at::ones({3}), at::ones({3})});
  expect_as_run("vdot", "", {at::ones({3}), at::ones({3})});
}

TEST(MetaShapes, Activations) {
  for (const at::Tensor& x : in_memory_of_each_kind({2, 4, 6, 3})) {
    const at::Tensor half = x.narrow(1, 0, 2), weight = at::ones({1, 4, 1, 1}, at::kDouble);
    expect_as_run("hardswish", "", {x});
    expect_as_run("hardswish_backward", "", {x, x});
    expect_as_run("hardtanh_backward", "", {x, x, -1, 1});
    expect_as_run("floor_divide", "", {x, x.to(at::kFloat)});
    expect_as_run("rsub", "Tensor", {x, weight, 2});
    expect_as_run("complex", "", {x, x});
    expect_as_run("polar", "", {x, weight});
    expect_as_run("frexp", "Tensor", {x});
    expect_as_run("_prelu_kernel", "", {x, weight});
    expect_as_run("_prelu_kernel_backward", "", {x, x, weight});
    expect_as_run("glu_backward", "", {half, x, 1});
    expect_as_run("log_sigmoid_forward", "", {x});
    expect_as_run("log_sigmoid_backward", "", {x, x, std::get<1>(at::log_sigmoid_forward(x))});
  }
}

TEST(MetaShapes, Losses) {
  for (const at::Tensor& x : in_memory_of_each_kind({2, 4, 3, 5})) {
    const at::Tensor target = at::zeros({2, 3, 5}, at::kLong), classes = at::zeros({2}, at::kLong);
    for (const int64_t reduction : {0, 1, 2}) {
      expect_as_run("binary_cross_entropy", "", {x, x, kNone, reduction});
      expect_as_run("binary_cross_entropy_backward", "", {x, x, x, kNone, reduction});
      expect_as_run("binary_cross_entropy_with_logits", "", {x, x, kNone, kNone, reduction});
      expect_as_run("binary_cross_entropy_with_logits", "", {x, x.contiguous(), x, x[0], reduction});
      expect_as_run("huber_loss", "", {x, x, reduction, 1.0});
      expect_as_run("huber_loss_backward", "", {x, x, x, reduction, 1.0});
      expect_as_run("smooth_l1_loss_backward", "", {x, x, x, reduction, 1.0});
      expect_as_run("nll_loss2d_forward", "", {x, target, kNone, reduction, -100});
      const auto [loss, weight] = at::nll_loss2d_forward(x, target, {}, reduction, -100);
      if (x.is_contiguous()) {  // core refuses others
        expect_as_run("nll_loss2d_backward", "", {at::ones_like(loss), x, target, kNone, reduction, -100, weight});
      }
      for (const at::Tensor& row : {x.select(2, 0).select(2, 0), x.select(0, 0).select(1, 0).select(1, 0)}) {
        const at::Tensor of = row.dim() == 1 ? classes.select(0, 0) : classes;
        expect_as_run("multi_margin_loss", "", {row, of, 1, 1, kNone, reduction});
        const at::Tensor each = at::multi_margin_loss(row, of, 1, 1, {}, reduction);
        expect_as_run("multi_margin_loss_backward", "", {at::ones_like(each), row, of, 1, 1, kNone, reduction});
        const at::Tensor labels = at::zeros_like(row, at::kLong);
        expect_as_run("multilabel_margin_loss_forward", "", {row, labels, reduction});
        const auto [margin, is_target] = at::multilabel_margin_loss_forward(row, labels, reduction);
        expect_as_run("multilabel_margin_loss_backward", "",
                      {at::ones_like(margin), row, labels, reduction, is_target});
      }
    }
  }
}

TEST(MetaShapes, Windows) {
  for (const at::Tensor& x : in_memory_of_each_kind({2, 4, 6, 8, 5})) {
    expect_as_run("_adaptive_avg_pool3d", "", {x, Ints{3, 2, 4}});
    expect_as_run("_adaptive_avg_pool3d_backward", "", {at::_adaptive_avg_pool3d(x, {3, 2, 4}), x});
    const Values windows{Ints{2, 3, 2}, Ints{2, 1, 2}, Ints{1, 1, 0}, Ints{1, 2, 1}, true};
    Values forward{x}, backward;
    forward.insert(forward.end(), windows.begin(), windows.end());
    expect_as_run("max_pool3d_with_indices", "", forward);
    const auto [pooled, places] = at::max_pool3d_with_indices(x, {2, 3, 2}, {2, 1, 2}, {1, 1, 0}, {1, 2, 1}, true);
    backward = {at::ones_like(pooled), x};
    backward.insert(backward.end(), windows.begin(), windows.end());
    backward.emplace_back(places);
    expect_as_run("max_pool3d_with_indices_backward", "", backward);
    const auto [halved, their] = at::max_pool3d_with_indices(x, {2, 2, 2}, {2, 2, 2});
    expect_as_run("max_unpool3d", "", {halved, their, Ints{6, 8, 5}, Ints{2, 2, 2}, Ints{0, 0, 0}});
    const at::Tensor grid = at::rand({2, 3, 4, 2, 3}, at::kDouble);
    expect_as_run("grid_sampler_3d", "", {x, grid, 0, 0, false});
    const at::Tensor sampled = at::grid_sampler_3d(x, grid, 0, 0, false);
    for (const bool both : {true, false}) {
      const c10::List<bool> mask({both, true});
      expect_as_run("grid_sampler_3d_backward", "", {at::ones_like(sampled), x, grid, 0, 0, false, mask});
    }
    const at::Tensor padded = at::replication_pad3d(x, {1, 2, 0, 1, 2, 0});
    expect_as_run("replication_pad3d_backward", "", {padded, x, Ints{1, 2, 0, 1, 2, 0}});
    const at::Tensor samples = at::rand({2, 4, 3}, at::kDouble);
    const auto [fractional, fractions] = at::fractional_max_pool3d(x, {2, 2, 2}, {3, 4, 2}, samples);
    expect_as_run("fractional_max_pool3d_backward", "",
                  {at::ones_like(fractional), x, Ints{2, 2, 2}, Ints{3, 4, 2}, fractions});
  }
  for (const at::Tensor& x : in_memory_of_each_kind({2, 4, 6, 8})) {
    const at::Tensor grid = at::rand({2, 3, 5, 2}, at::kDouble);
    expect_as_run("grid_sampler_2d", "", {x, grid, 0, 0, false});
    const at::Tensor sampled = at::grid_sampler_2d(x, grid, 0, 0, false);
    for (const bool both : {true, false}) {
      const c10::List<bool> mask({both, true});
      expect_as_run("grid_sampler_2d_backward", "", {at::ones_like(sampled), x, grid, 0, 0, false, mask});
    }
    expect_as_run("reflection_pad2d", "", {x, Ints{1, 2, 3, 0}});
    expect_as_run("reflection_pad2d_backward", "", {at::reflection_pad2d(x, {1, 2, 3, 0}), x, Ints{1, 2, 3, 0}});
    expect_as_run("replication_pad2d_backward", "", {at::replication_pad2d(x, {1, 2, 3, 0}), x, Ints{1, 2, 3, 0}});
    const Ints kernel{2, 3}, dilation{1, 2}, padding{1, 0}, stride{2, 1};
    expect_as_run("im2col", "", {x, kernel, dilation, padding, stride});
    const at::Tensor columns = at::im2col(x, kernel, dilation, padding, stride);
    expect_as_run("col2im", "", {columns, Ints{6, 8}, kernel, dilation, padding, stride});
    expect_as_run("channel_shuffle", "", {x, 2});
    expect_as_run("flip", "", {x, Ints{0, 2}});
    expect_as_run("roll", "", {x, Ints{1}, Ints{2}});
    for (int64_t k = -1; k < 4; ++k) expect_as_run("rot90", "", {x, k, Ints{1, 2}});
    expect_as_run("unfold_backward", "", {x.unfold(2, 2, 1), x.sizes().vec(), 2, 2, 1});
  }
}

TEST(MetaShapes, Products) {
  for (const at::Tensor& a : in_memory_of_each_kind({3, 4, 5})) {
    for (const at::Tensor& b : in_memory_of_each_kind({3, 5, 6})) {
      expect_as_run("addbmm", "", {at::ones({4, 6}, at::kDouble), a, b, 1, 1});
    }
    const at::Tensor other = at::rand({3, 7, 5}, at::kDouble);
    expect_as_run("_cdist_forward", "", {a, other, 2.0, kNone});
    const at::Tensor distances = at::_cdist_forward(a, other, 2.0, std::nullopt);
    expect_as_run("_cdist_backward", "", {at::ones_like(distances), a, other, 2.0, distances});
    expect_as_run(
        "_cdist_backward", "",
        {at::ones({3, 0, 4}, at::kDouble), at::ones({0, 5}, at::kDouble), a, 2.0, at::ones({3, 0, 4}, at::kDouble)});
    const at::Tensor square = a.slice(-1, 0, 4), tall = a.mT();
    expect_as_run("_linalg_eigvals", "", {square});
    expect_as_run("linalg_matrix_exp", "", {square});
    expect_as_run("cholesky_solve", "", {a.mT(), at::eye(5, at::kDouble), false});
    expect_as_run("cholesky_inverse", "", {at::eye(4, at::kDouble).expand({3, 4, 4}), false});
    const auto [reflectors, tau] = at::geqrf(tall);
    expect_as_run("linalg_householder_product", "", {reflectors, tau});
    expect_as_run("ormqr", "", {reflectors, tau, at::rand({3, 5, 2}, at::kDouble), true, false});
    expect_as_run("linalg_solve_triangular", "", {square.triu(), a, true, true, false});
    expect_as_run("linalg_solve_triangular", "", {square.triu()[0], a, true, true, false});
  }
  const at::Tensor v = at::rand({4, 5}), g = at::rand({4, 1});
  expect_as_run("_weight_norm_interface", "", {v, g, 0});
  const auto [w, norms] = at::_weight_norm_interface(v, g, 0);
  expect_as_run("_weight_norm_interface_backward", "", {w, v, g, norms, 0});
}

// What core's Python tells of the same arguments, asked once and written down: the kernels are those of GPUs.
TEST(MetaShapes, OfGpuKernelsWithoutPython) {
  const auto told = [](const std::string& name, const Values& arguments) {
    Values stack;
    for (const c10::IValue& v : arguments) stack.push_back(as_meta(v));
    EXPECT_TRUE(run_compiled_meta(handle(name, ""), stack, true)) << name;
    std::ostringstream text;
    for (const c10::IValue& v : stack) {
      if (v.isInt()) text << v.toInt() << "; ";
      if (!v.isTensor()) continue;
      const at::Tensor& t = v.toTensor();
      if (t.defined()) text << t.scalar_type() << t.sizes() << t.strides() << "; ";
      if (!t.defined()) text << "none; ";
    }
    return text.str();
  };
  const auto half = at::TensorOptions(at::kHalf);
  const at::Tensor q = at::empty({2, 5, 6, 8}, half).transpose(1, 2), k = at::empty({2, 6, 7, 8}, half);
  const at::Tensor v = at::empty({2, 6, 7, 4}, half), out = at::empty({2, 6, 5, 4}, half),
                   bias = at::empty({2, 6, 5, 7}, half);
  const at::Tensor sums = at::empty({2, 6, 5}), seed = at::empty({2}, at::kLong);
  EXPECT_EQ(told("_scaled_dot_product_flash_attention", {q, k, v, 0.0, false, false, kNone}),
            "Half[2, 6, 5, 4][120, 4, 24, 1]; Float[2, 6, 5][30, 5, 1]; none; none; 5; 7; UInt64[2][1]; UInt64[][]; "
            "Half[0][1]; ");
  EXPECT_EQ(told("_scaled_dot_product_flash_attention_backward",
                 {out, q, k, v, out, sums, at::Tensor(), at::Tensor(), 5, 7, 0.0, false, seed, seed, kNone}),
            "Half[2, 6, 5, 8][240, 8, 48, 1]; Half[2, 6, 7, 8][336, 56, 8, 1]; Half[2, 6, 7, 4][168, 28, 4, 1]; ");
  EXPECT_EQ(told("_scaled_dot_product_efficient_attention", {q, k, v, bias, true, 0.0, false, kNone}),
            "Half[2, 6, 5, 4][120, 4, 24, 1]; Float[2, 6, 32][192, 32, 1]; Long[][]; Long[][]; ");
  const c10::List<bool> all({true, true, true, true});
  EXPECT_EQ(told("_scaled_dot_product_efficient_attention_backward",
                 {out, q, k, v, bias, out, sums, seed, seed, 0.0, all, false, kNone}),
            "Half[2, 6, 5, 8][240, 8, 48, 1]; Half[2, 6, 7, 8][336, 8, 48, 1]; Half[2, 6, 7, 4][168, 4, 24, 1]; "
            "Half[2, 6, 5, 7][480, 80, 16, 1]; ");
  const at::Tensor gates = at::empty({3, 8}), state = at::empty({3, 2}), row = at::empty({8});
  EXPECT_EQ(told("_thnn_fused_lstm_cell", {gates, gates, state, row, row}),
            "Float[3, 2][2, 1]; Float[3, 2][2, 1]; Float[3, 8][8, 1]; ");
  EXPECT_EQ(told("_thnn_fused_lstm_cell_backward_impl", {state, state, state, state, gates, true}),
            "Float[3, 8][8, 1]; Float[3, 2][2, 1]; Float[8][1]; ");
  const at::Tensor three = at::empty({3, 6}), kept = at::empty({3, 10});
  EXPECT_EQ(told("_thnn_fused_gru_cell", {three, three, state, kNone, kNone}),
            "Float[3, 2][2, 1]; Float[3, 10][10, 1]; ");
  EXPECT_EQ(told("_thnn_fused_gru_cell_backward", {state, kept, true}),
            "Float[3, 6][6, 1]; Float[3, 6][6, 1]; Float[3, 2][2, 1]; Float[6][1]; Float[6][1]; ");
  const at::Tensor x = at::empty({2, 3, 4}), scale = at::empty({4});
  EXPECT_EQ(told("_fused_rms_norm_backward", {x, x, Ints{4}, x, scale, c10::List<bool>({true, true})}),
            "Float[2, 3, 4][12, 4, 1]; Float[4][1]; ");
}

TEST(MetaShapes, BagsAndRecurrentLayersWithoutPython) {
  const at::Tensor table = at::ones({7, 3}, at::kDouble), rows = at::tensor({1, 5, 0, 6}, at::kLong);
  const at::Tensor offsets = at::tensor({0, 2, 4}, at::kLong);
  for (const int64_t mode : {0, 1, 2}) {
    expect_first_as_run("_embedding_bag", {table, rows, offsets, false, mode, false, kNone, true, -1});
    const auto [out, bag_of, sizes, maxima] = at::_embedding_bag(table, rows, offsets, false, mode, false, {}, true);
    expect_first_as_run("_embedding_bag_dense_backward",
                        {at::ones_like(out), rows, bag_of, sizes, maxima, 7, false, mode, kNone, -1});
  }
  const auto [out, bag_of, sizes, maxima] = at::_embedding_bag(table, rows, offsets, false, 0, false, {}, true, 0);
  expect_first_as_run("_embedding_bag_per_sample_weights_backward",
                      {at::ones_like(out), table, rows, offsets, bag_of, 0, -1});
  const at::Tensor x = at::ones({5, 2, 3}), in = at::ones({16, 3}), again = at::ones({16, 4}), bias = at::ones({16});
  const at::Tensor state = at::ones({2, 4});
  expect_first_as_run("mkldnn_rnn_layer",
                      {x, in, again, bias, bias, state, state, false, Ints{}, 2, 4, 1, true, false, false, false});
}

// Results of other dtypes than the operands'.
TEST(MetaShapes, DtypesOfPointwiseOps) {
  const at::Tensor real = at::ones({3, 2}), whole = at::ones({3, 2}, at::kLong), complex = real.to(at::kComplexFloat);
  for (const char* name : {"isnan", "isposinf", "signbit", "logical_not"}) expect_as_run(name, "", {real});
  for (const char* name : {"deg2rad", "lgamma", "digamma", "sinc", "special_i0e", "i0"})
    expect_as_run(name, "", {whole});
  for (const char* name : {"abs", "angle", "isnan", "logical_not"}) expect_as_run(name, "", {complex});
  for (const char* name : {"logical_and", "logical_xor"}) expect_as_run(name, "", {complex, complex});
  expect_as_run("xlogy", "Tensor", {whole, whole});
  expect_as_run("copysign", "Tensor", {whole, whole});
  expect_as_run("logit", "", {whole.to(at::kFloat).mul(0.5), kNone});
}

// All orders of memory and of the dimensions, one and two of them left out.
TEST(MetaShapes, FourierTransforms) {
  Ints order{0, 1, 2, 3};
  do {
    const at::Tensor real = at::ones({5, 4, 1, 3}).permute(order), complex = real.to(at::kComplexFloat);
    ASSERT_EQ(complex.strides(), real.strides());
    Ints all{0, 1, 2, 3};
    do {
      for (const size_t count : {1, 2, 3, 4}) {
        const Ints dims(all.begin(), all.begin() + static_cast<int64_t>(count));
        expect_as_run("_fft_c2c", "", {complex, dims, 0, true});
        for (const bool onesided : {true, false}) expect_as_run("_fft_r2c", "", {real, dims, 0, onesided});
        expect_as_run("_fft_c2r", "", {complex, dims, 0, complex.size(dims.back()) * 2 - 1});
      }
    } while (std::next_permutation(all.begin(), all.end()));
  } while (std::next_permutation(order.begin(), order.end()));
  expect_as_run("_fft_c2c", "", {at::ones({2, 3}, at::kComplexDouble).t(), Ints{}, 0, true});
}

// What an op with a rule has no shapes for is gathered where there is no Python.
TEST(MetaShapes, OfAllOpsWithARule) {
  using Key = c10::DispatchKey;
  std::set<std::string> untold;
  for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
    const auto op = c10::Dispatcher::singleton().findSchema(name);
    if (!op || op->schema().name().rfind("aten::", 0) != 0 || op->schema().is_mutable()) continue;
    const auto& returns = op->schema().returns();
    const bool tensors = std::any_of(returns.begin(), returns.end(), [](const c10::Argument& r) {
      return r.alias_info() == nullptr && r.type()->isSubtypeOf(*c10::TensorType::get());
    });
    const std::string short_name = c10::toString(name).substr(std::strlen("aten::"));
    if (!tensors || op->hasTag(at::Tag::pointwise) || rules::find(short_name).empty()) continue;
    const auto keys = {Key::Meta, Key::CompositeImplicitAutograd, Key::CompositeExplicitAutograd,
                       Key::CompositeExplicitAutogradNonFunctional};  // of which most run on meta tensors
    if (std::any_of(keys.begin(), keys.end(), [&](Key key) { return op->hasKernelForDispatchKey(key); })) continue;
    bool told = true;
    try {
      Values arguments;
      for (const c10::Argument& argument : op->schema().arguments()) {
        const bool is_tensor = argument.type()->isSubtypeOf(*c10::TensorType::get());
        arguments.push_back(is_tensor ? c10::IValue(as_meta(at::ones({}))) : c10::IValue());
      }
      told = run_compiled_meta(*op, arguments, true);
    } catch (const c10::Error&) {  // it takes no such arguments
    }
    if (!told) untold.insert(short_name);
  }
  EXPECT_EQ(untold, std::set<std::string>(
                        {"_scaled_dot_product_cudnn_attention", "_scaled_dot_product_cudnn_attention_backward"}));
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
  EXPECT_FALSE(run_compiled_meta(handle("nonzero", ""), stack, true));
  EXPECT_EQ(stack.at(0).toTensor().sizes(), at::IntArrayRef{3});
}

}  // namespace
}  // namespace weft
