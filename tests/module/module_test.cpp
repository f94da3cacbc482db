// A module laid out by its variables' paths: all of it, or nothing.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>
#include <weft/module.h>
#include <weft/tensor.h>

#include "module/variables.h"
#include "support/run_ranks.h"

namespace weft {
namespace {

using test::errors_of_ranks;
using test::line;
using test::run_ranks;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr int kRanks = 3;

struct Net : torch::nn::Module {
  Net() : up(register_module("up", torch::nn::Linear(4, 7))), down(register_module("down", torch::nn::Linear(7, 5))) {
    norm = register_module("norm", torch::nn::BatchNorm1d(7));
    // The same on every rank, whatever the threads' order.
    at::NoGradGuard guard;
    for (at::Tensor& p : parameters()) p.copy_(at::arange(p.numel(), at::kFloat).sin().view(p.sizes()));
  }
  at::Tensor forward(const at::Tensor& x) { return down(norm(up(x)).relu()); }

  torch::nn::Linear up, down;
  torch::nn::BatchNorm1d norm{nullptr};
};

at::Tensor input() { return at::arange(24, at::kFloat).cos().view({6, 4}); }

using Rules = std::vector<std::pair<std::string, std::vector<std::vector<std::string>>>>;
LayoutMap map_of(const Rules& rules) {
  LayoutMap map(line(kRanks));
  for (const auto& [pattern, axes] : rules) map.insert(pattern, axes);
  return map;
}

LayoutMap megatron() {
  return map_of({{"up/weight", {{"x"}, {}}}, {"up/bias", {{"x"}}}, {"down/weight", {{}, {"x"}}}});
}

struct Warnings : c10::WarningHandler {
  void process(const c10::Warning& warning) override { texts.push_back(warning.msg()); }
  std::vector<std::string> texts;
};

TEST(DistributeModule, TheFirstRankWarnsOfWhatTheMapLeavesOut) {
  run_ranks(kRanks, [](int rank) {
    const auto told = [](const LayoutMap& map) {
      Warnings warnings;
      const c10::WarningUtils::WarningHandlerGuard guard(&warnings);
      Net net;
      distribute_module(net, map);
      return warnings.texts;
    };
    EXPECT_THAT(told(megatron()), ::testing::IsEmpty());
    const auto texts = told(map_of({{"p/weight", {{"x"}, {}}}, {"down/weight", {{}, {"x"}}}}));
    ASSERT_EQ(texts.size(), rank == 0 ? 1u : 0u);
    if (rank == 0) {
      EXPECT_THAT(texts[0],
                  AllOf(HasSubstr("'p/weight'; '.*p/weight' would match 'up/weight'"), HasSubstr("up/weight [7, 4]")));
    }
  });
}

TEST(DistributeModule, GivesEachVariableItsLayoutAndPath) {
  run_ranks(kRanks, [](int) {
    Net net;
    distribute_module(net, megatron());
    EXPECT_EQ(layout_of(net.up->weight), TensorLayout::from_names(line(kRanks), {{"x"}, {}}));
    EXPECT_EQ(layout_of(net.down->weight), TensorLayout::from_names(line(kRanks), {{}, {"x"}}));
    for (const auto& item : net.named_parameters()) {
      EXPECT_TRUE(is_sharded(item.value())) << item.key();
      EXPECT_TRUE(item.value().is_leaf() && item.value().requires_grad()) << item.key();
    }
    EXPECT_TRUE(layout_of(net.norm->running_mean)->is_replicated());
    EXPECT_FALSE(net.norm->running_mean.requires_grad());
    EXPECT_EQ(path_of(net.up->weight), "up/weight");
    EXPECT_TRUE(net.named_parameters()["up.weight"].is_same(net.up->weight));  // member and dictionary alike
  });
}

TEST(DistributeModule, LeavesValuesAndGradientsAsTheyWere) {
  run_ranks(kRanks, [](int) {
    Net plain, sharded;
    plain.forward(input()).sum().backward();  // a gradient that is there before
    sharded.forward(input()).sum().backward();
    distribute_module(sharded, megatron());
    for (const auto& item : plain.named_parameters()) {
      const at::Tensor p = sharded.named_parameters()[item.key()];
      EXPECT_TRUE(at::equal(full_tensor(p), item.value())) << item.key();
      EXPECT_EQ(layout_of(p.grad()), layout_of(p)) << item.key();
      EXPECT_TRUE(at::allclose(full_tensor(p.grad()), item.value().grad())) << item.key();
    }
    const at::Tensor want = plain.forward(input());
    EXPECT_TRUE(at::allclose(full_tensor(sharded.forward(input())), want, 1e-5, 1e-6));
    EXPECT_TRUE(at::allclose(full_tensor(sharded.norm->running_mean), plain.norm->running_mean));
  });
}

TEST(DistributeModule, KeepsTiedVariablesTied) {
  run_ranks(kRanks, [](int) {
    struct Tied : torch::nn::Module {
      Tied() {
        weight = register_parameter("weight", at::ones({6, 6}));
        again = register_parameter("again", weight);
      }
      at::Tensor weight, again;
    } net;
    distribute_module(net, map_of({{"weight", {{"x"}, {}}}}), [](const std::string&, torch::nn::Module& m) {
      auto& self = dynamic_cast<Tied&>(m);
      self.weight = m.named_parameters(false)["weight"];
      self.again = self.weight;
    });
    EXPECT_TRUE(is_sharded(net.weight));
    EXPECT_TRUE(net.named_parameters()["weight"].is_same(net.named_parameters()["again"]));
  });
}

TEST(DistributeModule, AMistakeInOneVariableLeavesAllAsTheyWere) {
  const Rules wrong{{"up/weight", {{"x"}, {}}}, {"norm/running_var", {{"x"}, {}}}};
  const Rules twice{{"up/weight", {{"x"}, {}}}, {"down/w.*", {{"x"}, {}}}, {".*/weight", {{}, {}}}};
  for (const Rules& rules : {wrong, twice}) {
    run_ranks(kRanks, [&](int) {
      Net net;
      EXPECT_THROW(distribute_module(net, map_of(rules)), c10::ValueError);
      for (const auto& item : net.named_parameters()) EXPECT_FALSE(is_sharded(item.value())) << item.key();
      EXPECT_FALSE(is_sharded(net.up->weight));
    });
  }
}

TEST(DistributeModule, RanksWithOtherVariablesAreToldOnAll) {
  const auto errors = errors_of_ranks(kRanks, [](int rank) {
    Net net;
    if (rank == 1) net.register_parameter("extra", at::ones({2}));
    distribute_module(net, megatron());
  });
  EXPECT_THAT(errors, Each(AllOf(HasSubstr(Variables::kWhat), HasSubstr("rank 1 differs from ranks 0, 2"))));
}

TEST(DistributeModule, NamesWhatSomethingStillHoldsAndIsUndone) {
  for (const int holder : {-1, 1}) {  // all ranks, or one alone
    std::array<bool, kRanks> as_it_was{};
    const auto errors = errors_of_ranks(kRanks, [&](int rank) {
      Net net;
      const auto* down = net.down->weight.unsafeGetTensorImpl();
      std::vector<at::Tensor> optimized;
      if (holder < 0 || rank == holder) optimized.push_back(net.up->weight);
      const auto* up = net.up->weight.unsafeGetTensorImpl();
      try {
        distribute_module(net, megatron());
      } catch (...) {
        as_it_was[rank] = net.up->weight.unsafeGetTensorImpl() == up &&
                          net.down->weight.unsafeGetTensorImpl() == down &&
                          net.down->named_parameters()["weight"].unsafeGetTensorImpl() == down;
        throw;
      }
    });
    EXPECT_THAT(errors, Each(HasSubstr(holder < 0 ? "still holds these variables as they were before: up/weight"
                                                  : "what still holds the module's variables")));
    for (const bool was : as_it_was) EXPECT_TRUE(was);
  }
}

TEST(Variables, AreOneWhereTheyAreReachedTwice) {
  run_ranks(kRanks, [](int) {
    const LayoutMap map = map_of({{"a", {{"x"}, {}}}, {"b", {{}, {"x"}}}});
    const at::Tensor t = at::ones({6, 6}), other = at::ones({6, 6});
    Variables variables(map);
    EXPECT_EQ(variables.add(t, "c", ""), 0);
    EXPECT_EQ(variables.add(other, "d", ""), 1);
    EXPECT_TRUE(variables.all()[0].layout->is_replicated());  // no entry
    EXPECT_EQ(variables.add(t, "a", ""), 0);                  // one of its paths has one
    EXPECT_EQ(variables.all()[0].layout, TensorLayout::from_names(line(kRanks), {{"x"}, {}}));
    EXPECT_EQ(variables.all()[0].path, "c");
    EXPECT_EQ(variables.all().size(), 2u);
    EXPECT_THROW(variables.add(t, "b", ""), c10::ValueError);  // another layout
  });
}

TEST(Variables, OneOfTheMetaDeviceGetsMemoryForItsPart) {
  run_ranks(kRanks, [](int rank) {
    const LayoutMap map = map_of({{"a", {{"x"}, {}}}});
    Variables variables(map);
    variables.add(at::empty({7, 2}, at::kMeta).requires_grad_(), "a", "");
    const at::Tensor made = variables.lay_out(0);
    EXPECT_TRUE(made.is_cpu() && made.requires_grad());
    EXPECT_EQ(local_tensor(made).size(0), rank == 2 ? 1 : 3);
  });
}

TEST(SynonymType, TellsAConvolutionOfOneGroupPerChannel) {
  EXPECT_EQ(synonym_type("Conv2d", {8, 4, 3, 3}, 2), "Conv2d");
  EXPECT_NE(synonym_type("Conv2d", {8, 1, 3, 3}, 8), "Conv2d");
}

}  // namespace
}  // namespace weft
