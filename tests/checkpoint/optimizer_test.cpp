#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim.h>
#include <torch/serialize/archive.h>
#include <weft/checkpoint.h>
#include <weft/module.h>
#include <weft/tensor.h>

#include <cstdlib>
#include <filesystem>
#include <limits>

#include "support/run_ranks.h"

namespace weft {
namespace {

using ::testing::HasSubstr;

struct Net : torch::nn::Module {
  torch::nn::Linear up = register_module("up", torch::nn::Linear(4, 6));
  torch::nn::Linear down = register_module("down", torch::nn::Linear(6, 3));
  at::Tensor forward(const at::Tensor& x) { return down(up(x).tanh()); }

  // The same values on all ranks and in all nets.
  Net() {
    int64_t i = 0;
    for (at::Tensor& p : parameters()) {
      p.detach().copy_((at::arange(p.numel(), at::kFloat) * 0.37 + static_cast<double>(++i)).sin().view(p.sizes()));
    }
  }
  std::vector<at::Tensor> parameters_from_the_end() {
    auto all = parameters();
    return {all.rbegin(), all.rend()};
  }
};

void lay_out(Net& net, const Mesh& mesh, bool by_rows) {
  LayoutMap map(mesh);
  map.insert(".*/weight", by_rows ? std::vector<std::vector<std::string>>{{"x"}, {}}
                                  : std::vector<std::vector<std::string>>{{}, {"x"}});
  distribute_module(net, map);
}

void step(Net& net, torch::optim::Optimizer& optimizer, int64_t number) {
  const at::Tensor x = (at::arange(20, at::kFloat) * 0.1 + static_cast<double>(number)).cos().view({5, 4});
  optimizer.step([&] {
    optimizer.zero_grad();
    at::Tensor loss = net.forward(x).square().mean();
    loss.backward();
    return loss;
  });
}

std::vector<at::Tensor> values_of(const Net& net) {
  std::vector<at::Tensor> values;
  for (const at::Tensor& p : net.parameters()) values.push_back(full_tensor(p).detach().clone());
  return values;
}

using Make = std::function<std::unique_ptr<torch::optim::Optimizer>(std::vector<at::Tensor>)>;
template <class Optimizer, class Options>
Make maker(Options options) {
  return
      [=](std::vector<at::Tensor> parameters) { return std::make_unique<Optimizer>(std::move(parameters), options); };
}

class OptimizerCheckpoint : public ::testing::Test {
 protected:
  OptimizerCheckpoint() {
    std::string name = (std::filesystem::temp_directory_path() / "weft-optimizer-XXXXXX").string();
    folder_ = std::string(::mkdtemp(name.data())) + "/c";
  }
  ~OptimizerCheckpoint() override { std::filesystem::remove_all(std::filesystem::path(folder_).parent_path()); }

  std::string folder_;
};
class OptimizersCheckpoint : public OptimizerCheckpoint,
                             public ::testing::WithParamInterface<std::pair<const char*, Make>> {};

// Training that goes on from a checkpoint, on other ranks and in other layouts, is training that was never left.
TEST_P(OptimizersCheckpoint, GoesOnElsewhere) {
  const Make& make = GetParam().second;
  Net unbroken;
  const auto its = make(unbroken.parameters());
  for (int i = 0; i < 5; ++i) step(unbroken, *its, i);
  const auto expected = values_of(unbroken);
  const auto expect_it = [&](const Net& net, const char* where) {
    const auto values = values_of(net);
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_TRUE(at::allclose(values[i], expected[i], 1e-4, 1e-6)) << where << ", parameter " << i;
    }
  };
  test::run_ranks(2, [&](int) {
    Net net;
    lay_out(net, test::line(2), true);
    const auto optimizer = make(net.parameters());
    for (int i = 0; i < 3; ++i) step(net, *optimizer, i);
    const PendingSave pending = async_save(folder_, net, *optimizer, 3);
    for (int i = 3; i < 5; ++i) step(net, *optimizer, i);
    expect_it(net, "not left");
    pending.wait();
    EXPECT_EQ(load(folder_, net, *optimizer), 3) << "into state that is there already";
    for (int i = 3; i < 5; ++i) step(net, *optimizer, i);
    expect_it(net, "gone back");
  });
  const auto go_on = [&](Net& net) {
    const auto optimizer = make(net.parameters_from_the_end());
    EXPECT_EQ(load(folder_, net, *optimizer), 3);
    for (int i = 3; i < 5; ++i) step(net, *optimizer, i);
    expect_it(net, "loaded");
  };
  test::run_ranks(3, [&](int) {
    Net net;
    lay_out(net, test::line(3), false);
    go_on(net);
  });
  Net plain;
  go_on(plain);
}

using torch::optim::SGDOptions;
INSTANTIATE_TEST_SUITE_P(
    All, OptimizersCheckpoint,
    ::testing::Values(
        std::pair("Adam", maker<torch::optim::Adam>(torch::optim::AdamOptions(1e-2).amsgrad(true))),
        std::pair("AdamW", maker<torch::optim::AdamW>(torch::optim::AdamWOptions(1e-2).betas({0.8, 0.99}))),
        std::pair("SGD", maker<torch::optim::SGD>(SGDOptions(1e-2).momentum(0.9).nesterov(true))),
        std::pair("plain_SGD", maker<torch::optim::SGD>(SGDOptions(1e-2))),
        std::pair("RMSprop", maker<torch::optim::RMSprop>(torch::optim::RMSpropOptions(1e-2).centered(true))),
        std::pair("Adagrad", maker<torch::optim::Adagrad>(torch::optim::AdagradOptions(1e-2)))),
    [](const auto& test) { return test.param.first; });

TEST_F(OptimizerCheckpoint, OfNewtonsKind) {
  test::run_ranks(2, [&](int) {
    const auto options = torch::optim::LBFGSOptions(0.5).max_iter(3).line_search_fn("strong_wolfe");
    Net net, other;
    lay_out(net, test::line(2), true);
    torch::optim::LBFGS optimizer(net.parameters(), options), its(other.parameters(), options);
    step(net, optimizer, 0);
    save(folder_, net, optimizer);
    load(folder_, other, its);
    EXPECT_EQ(its.state().size(), optimizer.state().size());
    step(net, optimizer, 1);
    step(other, its, 1);
    const auto values = values_of(net), others = values_of(other);
    for (size_t i = 0; i < values.size(); ++i) EXPECT_TRUE(at::allclose(values[i], others[i], 1e-3, 1e-5));
  });
}

TEST_F(OptimizerCheckpoint, GroupsByTheirParameters) {
  const auto groups = [](Net& net, bool turned) {
    std::vector<torch::optim::OptimizerParamGroup> both;
    both.emplace_back(net.up->parameters(), std::make_unique<SGDOptions>(SGDOptions(0.5).momentum(0.9)));
    both.emplace_back(net.down->parameters(), std::make_unique<SGDOptions>(SGDOptions(0.25)));
    if (turned) std::swap(both[0], both[1]);
    return both;
  };
  Net net, other;
  torch::optim::SGD optimizer(groups(net, false), SGDOptions(1));
  step(net, optimizer, 0);
  static_cast<SGDOptions&>(optimizer.param_groups()[0].options()).lr(std::numeric_limits<double>::infinity());
  save(folder_, net, optimizer);
  std::vector<torch::optim::OptimizerParamGroup> turned;
  turned.emplace_back(other.down->parameters(), std::make_unique<SGDOptions>(1));
  turned.emplace_back(other.up->parameters(), std::make_unique<SGDOptions>(1));
  torch::optim::SGD its(turned, SGDOptions(1));
  step(other, its, 1);
  EXPECT_EQ(its.state().size(), 0u) << "without momentum there is none";
  load(folder_, other, its);
  const auto& down = static_cast<const SGDOptions&>(its.param_groups()[0].options());
  const auto& up = static_cast<const SGDOptions&>(its.param_groups()[1].options());
  EXPECT_EQ(down.lr(), 0.25);
  EXPECT_EQ(up.lr(), std::numeric_limits<double>::infinity());
  EXPECT_EQ(up.momentum(), 0.9);
  EXPECT_EQ(its.state().size(), 2u) << "of the group that has momentum";
}

TEST_F(OptimizerCheckpoint, StateThatWasNotSavedIsGoneAfterLoading) {
  Net net;
  torch::optim::Adam optimizer(net.parameters(), torch::optim::AdamOptions(1e-2));
  save(folder_, net, optimizer);
  step(net, optimizer, 0);
  EXPECT_EQ(optimizer.state().size(), 4u);
  load(folder_, net, optimizer);
  EXPECT_EQ(optimizer.state().size(), 0u);
}

TEST_F(OptimizerCheckpoint, ErrorsAreTheSameOnAllRanksAndChangeNothing) {
  const auto error_of = [&](const std::function<void(Net&)>& body) {
    const auto errors = test::errors_of_ranks(2, [&](int) {
      Net net;
      lay_out(net, test::line(2), true);
      for (at::Tensor& p : net.parameters()) p.detach().zero_();
      std::exception_ptr thrown;
      try {
        body(net);
      } catch (...) {
        thrown = std::current_exception();
      }
      for (const at::Tensor& p : net.parameters()) EXPECT_EQ(p.abs().sum().item<double>(), 0);
      if (thrown) std::rethrow_exception(thrown);
    });
    EXPECT_EQ(errors[0], errors[1]);
    return errors[0];
  };
  Net plain;
  torch::optim::SGD sgd(plain.parameters(), SGDOptions(1e-2));
  save(folder_, plain, sgd);
  const auto fewer = [&](Net& net) {
    torch::optim::SGD optimizer(net.up->parameters(), SGDOptions(1));
    load(folder_, net, optimizer);
  };
  EXPECT_THAT(error_of(fewer), HasSubstr("[W113] load: the optimizer has other parameters than the one that was saved: "
                                         "none are missing in the checkpoint, 'down.bias', 'down.weight' are in it "
                                         "alone"));
  const auto grouped = [&](Net& net) {
    std::vector<torch::optim::OptimizerParamGroup> groups{{net.up->parameters()}, {net.down->parameters()}};
    torch::optim::SGD optimizer(groups, SGDOptions(1));
    load(folder_, net, optimizer);
  };
  EXPECT_THAT(error_of(grouped), HasSubstr("[W113] load: the optimizer has a parameter group of 'up.bias', "
                                           "'up.weight', and the checkpoint none of just these"));
  save(folder_, plain);
  const auto whole = [&](Net& net) {
    torch::optim::SGD optimizer(net.parameters(), SGDOptions(1));
    load(folder_, net, optimizer);
  };
  EXPECT_THAT(error_of(whole), HasSubstr("[W111] load: the checkpoint holds no optimizer"));
}

TEST_F(OptimizerCheckpoint, OptionsThatWereNotSavedStayAsTheyAre) {
  Net net;
  torch::optim::SGD sgd(net.parameters(), SGDOptions(0.25));
  save(folder_, net, sgd);
  torch::optim::Adam adam(net.parameters(), torch::optim::AdamOptions(1).eps(0.5));
  load(folder_, net, adam);
  const auto& options = static_cast<const torch::optim::AdamOptions&>(adam.param_groups()[0].options());
  EXPECT_EQ(options.lr(), 0.25);
  EXPECT_EQ(options.eps(), 0.5);
}

// One that writes nothing of itself, as LibTorch's base class does.
struct Silent : torch::optim::Optimizer {
  explicit Silent(std::vector<at::Tensor> parameters)
      : Optimizer(std::move(parameters), std::make_unique<SGDOptions>(1)) {}
  at::Tensor step(LossClosure) override { return {}; }
};

TEST_F(OptimizerCheckpoint, OfAKindThatWritesNothing) {
  const auto errors = test::errors_of_ranks(2, [&](int) {
    Net net;
    Silent optimizer(net.parameters());
    save(folder_, net, optimizer);
  });
  EXPECT_EQ(errors[0], errors[1]);
  EXPECT_THAT(errors[0], HasSubstr("[W117] the optimizer's save(OutputArchive&) writes no archive 'state'"));
  EXPECT_FALSE(std::filesystem::exists(folder_));
}

}  // namespace
}  // namespace weft
