#include "paths/adapter.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

namespace weft {
namespace {

std::vector<std::string> paths_of(const std::vector<Spelling>& all) {
  std::vector<std::string> out;
  for (const Spelling& s : all) out.push_back(s.path);
  return out;
}
using Paths = std::vector<std::string>;

TEST(Adapter, TorchNamesBothWays) {
  for (const std::string name :
       {"encoder.layers.0.self_attn.in_proj_weight", "weight", "a.b", "", ".", "a..b", "lstm.weight_hh_l0_reverse"}) {
    const VariableName taken = split_name(name);
    EXPECT_EQ(taken.prefix, "");
    EXPECT_EQ(taken.path.find('.'), std::string::npos) << name;
    EXPECT_EQ(join_name(taken), name);
  }
  EXPECT_EQ(canonical_path("encoder.layers.0.self_attn.in_proj_weight"), "encoder/layers/0/self_attn/in_proj_weight");
  EXPECT_EQ(torch_name("encoder/layers/0/weight"), "encoder.layers.0.weight");
}

TEST(Adapter, KerasPathsStayAsTheyAre) {
  for (const std::string path : {"sequential/dense_1/kernel", "enc/att/query/bias", "seed_generator_state"}) {
    EXPECT_EQ(canonical_path(path), path);
  }
}

TEST(Adapter, CutsKerasPrefixes) {
  for (const std::string prefix : {"_torch_params.", "_functional._torch_params.", "backbone.net._torch_params."}) {
    const std::string name = prefix + "enc/att/query/kernel";
    EXPECT_EQ(split_name(name).prefix, prefix);
    EXPECT_EQ(split_name(name).path, "enc/att/query/kernel");
    EXPECT_EQ(join_name(split_name(name)), name);
  }
  // The last marker counts.
  EXPECT_EQ(canonical_path("a._torch_params.b._torch_params.c/kernel"), "c/kernel");
  // What only looks like one.
  EXPECT_EQ(canonical_path("my_torch_params.kernel"), "my_torch_params/kernel");
  EXPECT_EQ(canonical_path("_torch_params."), "_torch_params/");
  EXPECT_EQ(canonical_path("a._torch_params._torch_params."), "_torch_params.");
  EXPECT_EQ(canonical_path("_torch_params"), "_torch_params");
}

TEST(Adapter, LongNames) {
  const std::string name(100 << 10, '.');
  EXPECT_EQ(join_name(split_name(name)), name);
  std::string markers;
  for (int i = 0; i < 5000; ++i) markers += "x_torch_params.";
  EXPECT_EQ(join_name(split_name(markers)), markers);
}

// What a simpler adapter gets wrong.
TEST(Adapter, InnerSlashesAllChange) {
  EXPECT_EQ(torch_name("net/dense/kernel"), "net.dense.kernel");
  EXPECT_EQ(canonical_path("net.dense.weight"), "net/dense/weight");
}
TEST(Adapter, LeavesAreKeptByThePathItself) {
  EXPECT_EQ(canonical_path("norm.weight"), "norm/weight");
  EXPECT_EQ(canonical_path("bn.running_var"), "bn/running_var");
  EXPECT_EQ(canonical_path("bn.running_mean"), "bn/running_mean");
  EXPECT_EQ(canonical_path("ln/gamma"), "ln/gamma");
}
TEST(Adapter, WeightIsResolvedByModuleTypeOnly) {
  EXPECT_EQ(paths_of(spellings("a.weight", "Linear")), (Paths{"a/weight", "a/kernel"}));
  EXPECT_EQ(paths_of(spellings("a.weight", "LayerNorm")), (Paths{"a/weight", "a/gamma"}));
  EXPECT_EQ(paths_of(spellings("a.weight", "Embedding")), (Paths{"a/weight", "a/embeddings"}));
  EXPECT_EQ(paths_of(spellings("a.weight", "")), (Paths{"a/weight"}));
  EXPECT_EQ(paths_of(spellings("a.weight", "SomeModule")), (Paths{"a/weight"}));
  EXPECT_EQ(paths_of(spellings("a.gamma", "Linear")), (Paths{"a/gamma"}));
  EXPECT_EQ(paths_of(spellings("linear.weight", "LayerNorm")), (Paths{"linear/weight", "linear/gamma"}));
}

TEST(Adapter, SynonymsOfBuffersAndBias) {
  EXPECT_EQ(paths_of(spellings("bn.running_var", "BatchNorm2d")), (Paths{"bn/running_var", "bn/moving_variance"}));
  EXPECT_EQ(paths_of(spellings("bn.running_mean", "SyncBatchNorm")), (Paths{"bn/running_mean", "bn/moving_mean"}));
  EXPECT_EQ(paths_of(spellings("bn.bias", "BatchNorm1d")), (Paths{"bn/bias", "bn/beta"}));
  EXPECT_EQ(paths_of(spellings("bn.num_batches_tracked", "BatchNorm1d")), (Paths{"bn/num_batches_tracked"}));
  EXPECT_EQ(paths_of(spellings("fc.bias", "Linear")), (Paths{"fc/bias"}));
  EXPECT_EQ(paths_of(spellings("weight", "Linear")), (Paths{"weight", "kernel"}));
  EXPECT_EQ(paths_of(spellings("l.weight_hh_l0", "LSTM")), (Paths{"l/weight_hh_l0", "l/lstm_cell/recurrent_kernel"}));
  EXPECT_EQ(paths_of(spellings("l.weight_ih_l1", "LSTM")), (Paths{"l/weight_ih_l1"}));
}

TEST(Adapter, ModuleTypesInEveryWriting) {
  EXPECT_EQ(canonical_module_type("torch.nn.modules.linear.Linear"), "Linear");
  EXPECT_EQ(canonical_module_type("__torch__.torch.nn.modules.linear.___torch_mangle_3.Linear"), "Linear");
  EXPECT_EQ(canonical_module_type("torch::nn::LinearImpl"), "Linear");
  EXPECT_EQ(canonical_module_type("transformers.models.llama.modeling_llama.LlamaRMSNorm"), "RMSNorm");
  EXPECT_EQ(canonical_module_type("T5LayerNorm"), "LayerNorm");
  EXPECT_EQ(canonical_module_type("Impl"), "Impl");
  EXPECT_EQ(canonical_module_type(""), "");
  EXPECT_EQ(canonical_module_type("a."), "");
}

// Every size differs, so a permuted shape shows each wrong dimension.
std::vector<int64_t> permuted(const std::vector<int64_t>& shape, const std::vector<int64_t>& permutation) {
  std::vector<int64_t> out;
  for (int64_t p : permutation) out.push_back(p < 0 ? 1 : shape[p]);
  return out;
}
TEST(Adapter, PermutationsTurnTheOtherShapeIntoOurs) {
  struct Case {
    const char *ours, *leaf, *theirs, *their_leaf;
    std::vector<int64_t> shape, their_shape;
  };
  const int64_t in = 3, out = 4, h = 5, w = 6, d = 7;
  const Case cases[] = {
      {"Linear", "weight", "Dense", "kernel", {out, in}, {in, out}},
      {"Conv1d", "weight", "Conv1D", "kernel", {out, in, h}, {h, in, out}},
      {"Conv2d", "weight", "Conv2D", "kernel", {out, in, h, w}, {h, w, in, out}},
      {"Conv3d", "weight", "Conv3D", "kernel", {out, in, d, h, w}, {d, h, w, in, out}},
      {"ConvTranspose1d", "weight", "Conv1DTranspose", "kernel", {in, out, h}, {h, out, in}},
      {"ConvTranspose2d", "weight", "Conv2DTranspose", "kernel", {in, out, h, w}, {h, w, out, in}},
      {"ConvTranspose3d", "weight", "Conv3DTranspose", "kernel", {in, out, d, h, w}, {d, h, w, out, in}},
      {"LSTM", "weight_ih_l0", "", "", {4 * out, in}, {in, 4 * out}},
  };
  for (const Case& c : cases) {
    const auto found = leaf_synonyms(c.ours, c.leaf);
    ASSERT_EQ(found.size(), 1u) << c.ours;
    EXPECT_EQ(permuted(c.their_shape, found[0].permutation), c.shape) << c.ours;
    if (*c.theirs == '\0') continue;
    EXPECT_EQ(found[0].leaf, c.their_leaf);
    const auto back = leaf_synonyms(c.theirs, c.their_leaf);
    ASSERT_EQ(back.size(), 1u) << c.theirs;
    EXPECT_EQ(back[0].leaf, c.leaf);
    EXPECT_EQ(permuted(c.shape, back[0].permutation), c.their_shape) << c.theirs;
  }
}

TEST(Adapter, PermutesAxes) {
  EXPECT_EQ(permute_axes({{}, {"model"}}, {1, 0}), (DimAxes{{"model"}, {}}));
  EXPECT_EQ(permute_axes({{}, {}, {"a"}, {"b", "c"}}, {3, 2, 0, 1}), (DimAxes{{"b", "c"}, {"a"}, {}, {}}));
  EXPECT_EQ(permute_axes({{"a"}}, {}), (DimAxes{{"a"}}));
  // Another length than the synonym's: left for the check against the shape.
  EXPECT_EQ(permute_axes({{"a"}}, {1, 0}), (DimAxes{{"a"}}));
}

TEST(Adapter, DepthwiseMultiplierCannotBeSplit) {
  const auto synonym = leaf_synonyms("DepthwiseConv2d", "weight");
  ASSERT_EQ(synonym.size(), 1u);
  // (kh, kw, in, multiplier) -> (in * multiplier, 1, kh, kw)
  EXPECT_EQ(permute_axes({{}, {}, {"model"}, {}}, synonym[0].permutation), (DimAxes{{"model"}, {}, {}, {}}));
  EXPECT_THROW(permute_axes({{}, {}, {}, {"model"}}, synonym[0].permutation), c10::ValueError);
  const auto back = leaf_synonyms("DepthwiseConv2D", "kernel");
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(permute_axes({{"model"}, {}, {}, {}}, back[0].permutation), (DimAxes{{}, {}, {"model"}, {}}));
}

}  // namespace
}  // namespace weft
