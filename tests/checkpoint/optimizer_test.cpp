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

#include "checkpoint/checkpoint.h"
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
std::string error_in(const std::function<void()>& body) {
  try {
    body();
  } catch (const c10::ValueError& error) {
    return error.what_without_backtrace();
  }
  return "";
}

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

std::vector<std::pair<const char*, Make>> kinds() {
  return {{"Adam", maker<torch::optim::Adam>(torch::optim::AdamOptions(1e-2).amsgrad(true))},
          {"AdamW", maker<torch::optim::AdamW>(torch::optim::AdamWOptions(1e-2).betas({0.8, 0.99}))},
          {"SGD", maker<torch::optim::SGD>(SGDOptions(1e-2).momentum(0.9).nesterov(true))},
          {"plain_SGD", maker<torch::optim::SGD>(SGDOptions(1e-2))},
          {"RMSprop", maker<torch::optim::RMSprop>(torch::optim::RMSpropOptions(1e-2).centered(true))},
          {"Adagrad", maker<torch::optim::Adagrad>(torch::optim::AdagradOptions(1e-2))}};
}
INSTANTIATE_TEST_SUITE_P(All, OptimizersCheckpoint, ::testing::ValuesIn(kinds()),
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

TEST_F(OptimizerCheckpoint, AnotherKindIsRefusedAndNothingChanged) {
  for (const auto& [saved, make] : kinds()) {
    Net net;
    const auto optimizer = make(net.parameters());
    step(net, *optimizer, 0);
    save(folder_, net, *optimizer);
    for (const auto& [other, make_other] : kinds()) {
      const auto kind = [](std::string name) { return name == "plain_SGD" ? "SGD" : name; };
      if (kind(saved) == kind(other)) continue;
      Net mine;
      for (at::Tensor& p : mine.parameters()) p.detach().zero_();
      const auto its = make_other(mine.parameters());
      step(mine, *its, 1);
      const size_t states = its->state().size();
      const auto* options = &its->param_groups()[0].options();
      const double lr = options->get_lr();
      const auto before = values_of(mine);
      const std::string text = error_in([&] { load(folder_, mine, *its); });
      EXPECT_THAT(text, HasSubstr("[W113] load: the optimizer that was saved is of another kind")) << saved << other;
      const auto after = values_of(mine);
      for (size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(at::equal(after[i], before[i]));
      EXPECT_EQ(its->state().size(), states);
      EXPECT_EQ(&its->param_groups()[0].options(), options);
      EXPECT_EQ(options->get_lr(), lr);
      step(mine, *its, 2);
    }
  }
}

TEST_F(OptimizerCheckpoint, GroupsOfTheSameParametersInTheirOrder) {
  const auto make = [](Net& net, double lr) {
    std::vector<torch::optim::OptimizerParamGroup> groups;
    for (int i = 0; i < 3; ++i) {
      const auto parameters = i == 0 ? net.parameters() : std::vector<at::Tensor>();
      groups.emplace_back(parameters, std::make_unique<SGDOptions>(SGDOptions(lr * (i + 1))));
    }
    return std::make_unique<torch::optim::SGD>(groups, SGDOptions(1));
  };
  Net net;
  save(folder_, net, *make(net, 0.1));
  const auto its = make(net, 7);
  load(folder_, net, *its);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(static_cast<const SGDOptions&>(its->param_groups()[i].options()).lr(), 0.1 * (i + 1));
  }
}

TEST_F(OptimizerCheckpoint, ANumberThatIsAName) {
  const at::Tensor a = at::ones({2}), b = at::ones({2});
  torch::optim::SGD optimizer({a, b}, SGDOptions(1));
  EXPECT_THAT(error_in([&] { save(folder_, NamedTensors{{"1", a}}, optimizer); }),
              HasSubstr("[W117] two of the optimizer's parameters are '1'"));
}

// What Python's weft.save may have written, and what nobody has.
TEST_F(OptimizerCheckpoint, OptionsAndStateOfOtherKinds) {
  Net net;
  const auto before = values_of(net);
  const auto error_of = [&](const std::string& options, const std::string& state, bool decoupled = false) {
    std::vector<checkpoint::Item> items;
    std::string names;
    for (const auto& p : net.named_parameters()) {
      items.push_back({"model", p.key(), at::zeros_like(p.value())});
      names += (names.empty() ? "\"" : ", \"") + p.key() + "\"";
    }
    const std::string values = "{\"optimizer\": {\"state\": {" + state + "}, \"param_groups\": [{" + options +
                               ", \"params\": [" + names + "]}]}}";
    checkpoint::save(folder_, items, values, std::nullopt, true);
    torch::optim::Adam adam(net.parameters(), torch::optim::AdamOptions(1e-2));
    torch::optim::AdamW adamw(net.parameters(), torch::optim::AdamWOptions(1e-2));
    const auto* options_now = &adam.param_groups()[0].options();
    const std::string text = error_in([&] { decoupled ? load(folder_, net, adamw) : load(folder_, net, adam); });
    const auto after = values_of(net);
    for (size_t i = 0; i < after.size() && !text.empty(); ++i) EXPECT_TRUE(at::equal(after[i], before[i])) << text;
    EXPECT_TRUE(adam.state().empty());
    EXPECT_EQ(&adam.param_groups()[0].options(), options_now) << "which a program may hold";
    EXPECT_EQ(options_now->get_lr(), text.empty() ? 1 : 1e-2);
    return text;
  };
  const std::string adam = "\"lr\": 1, \"betas\": {\"weft:tuple\": [0, 0.9]}, \"eps\": 1e-8, \"weight_decay\": 0";
  const std::string whole = adam + ", \"amsgrad\": false";
  EXPECT_THAT(error_of(adam, ""), HasSubstr("[W113] load: the optimizer that was saved has no option 'amsgrad'"));
  EXPECT_THAT(error_of(whole + ", \"maximize\": true", ""), HasSubstr("[W113] load: the optimizer was saved with "
                                                                      "'maximize' = true"));
  EXPECT_THAT(error_of(whole + ", \"decoupled_weight_decay\": true", ""), HasSubstr("'decoupled_weight_decay' = true"));
  EXPECT_THAT(error_of(whole + ", \"decoupled_weight_decay\": false", "", true),
              HasSubstr("'decoupled_weight_decay' = false"));
  EXPECT_THAT(error_of("\"lr\": null" + whole.substr(7), ""), HasSubstr("[W113] load: the optimizer cannot take"));
  EXPECT_THAT(error_of(whole, "\"nobody\": {}"),
              HasSubstr("[W112] load: the checkpoint's optimizer has state of 'nobody'"));
  for (const char* state : {"{}", "{\"step\": null}", "{\"step\": \"one\"}", "{\"step\": 1.5}"}) {
    EXPECT_THAT(error_of(whole, std::string("\"up.bias\": ") + state),
                HasSubstr("[W113] load: the optimizer cannot take"));
  }
  EXPECT_THAT(error_of(whole, "\"up.bias\": {\"step\": 18446744073709551615}"), HasSubstr("a number beyond 64 bits"));
  EXPECT_EQ(error_of(whole + ", \"foreach\": true, \"maximize\": false, \"initial_lr\": 3", ""), "");
}

// One that writes nothing of itself, as LibTorch's base class does.
struct Silent : torch::optim::Optimizer {
  explicit Silent(std::vector<at::Tensor> parameters)
      : Optimizer(std::move(parameters), std::make_unique<SGDOptions>(1)) {}
  at::Tensor step(LossClosure) override { return {}; }
};

struct Counting : torch::optim::SGD {
  using SGD::SGD;
  void save(torch::serialize::OutputArchive& archive) const override {
    SGD::save(archive);
    archive.write("counter", c10::IValue(3));
  }
};

TEST_F(OptimizerCheckpoint, OfAKindThatWritesMore) {
  Net net;
  Counting optimizer(net.parameters(), SGDOptions(1));
  EXPECT_THAT(error_in([&] { save(folder_, net, optimizer); }),
              HasSubstr("[W117] the optimizer's save(OutputArchive&) writes 'counter' beside its state and groups"));
}

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
