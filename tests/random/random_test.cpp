// The generator, the keys and the mode.
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>

#include <set>
#include <thread>

#include "random/draws.h"
#include "random/fixture.h"
#include "random/mode.h"
#include "random/philox.h"
#include "random/philox_block.h"
#include "support/outcome.h"
#include "tensor/identity.h"

namespace weft::random {
namespace {

using namespace testing;

TEST(RandomPhilox, KnownAnswers) {  // of Random123's kat_vectors
  const auto expect = [](uint64_t key, uint64_t low, uint64_t high, std::array<uint32_t, 4> words) {
    const Words made = philox(key, low, high);
    for (int k = 0; k < 4; ++k) EXPECT_EQ(made.w[k], words[k]);
  };
  expect(0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  expect(~0ull, ~0ull, ~0ull, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  expect(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST(RandomPhilox, BlockIsTheSameWords) {
  for (const uint64_t first : {0ull, 5ull, 0xFFFFFFFEull, 0x123456789ABCDEFull}) {
    uint32_t words[kBlockWords];
    philox_block(kKey, first, words);
    for (uint64_t c = 0; c < 4; ++c) {
      for (int k = 0; k < 4; ++k) EXPECT_EQ(words[4 * c + k], philox(kKey, first + c).w[k]);
    }
  }
}

TEST(RandomKeys, AreUncorrelated) {
  const int64_t n = 1 << 16;
  const double bound = 5 / std::sqrt(static_cast<double>(n));
  const auto centred = [&](const Op& op, uint64_t key) { return run_whole(op, {n}, key).sub(0.5); };
  const Op uniform = {"uniform_", "", {0.0, 1.0}};
  const at::Tensor a = centred(uniform, kKey);
  for (const uint64_t other : {kKey + 1, kKey ^ (uint64_t{1} << 63), uint64_t{0}, ~kKey}) {
    EXPECT_LT(std::abs((a * centred(uniform, other)).mean().item<double>() * 12), bound);
  }
  for (const int64_t lag : {1, 2, 3, 4, 8, 32, 1024}) {
    EXPECT_LT(std::abs((a.slice(0, lag) * a.slice(0, 0, n - lag)).mean().item<double>() * 12), bound) << lag;
  }
  const at::Tensor z = run_whole({"normal_", "", {0.0, 1.0}}, {n});
  for (const int64_t lag : {1, 2, 3}) {
    EXPECT_LT(std::abs((z.slice(0, lag) * z.slice(0, 0, n - lag)).mean().item<double>()), bound) << lag;
    EXPECT_LT(std::abs((z.slice(0, lag).square() * z.slice(0, 0, n - lag).square()).mean().item<double>() - 1),
              3 * bound);
  }
}

TEST(RandomKeys, OneDrawFromTheGivenGenerator) {
  at::Generator generator = at::detail::createCPUGenerator(7), twin = at::detail::createCPUGenerator(7);
  auto* engine = twin.get<at::CPUGeneratorImpl>();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(draw_key(generator, at::kCPU), engine->random64());
  EXPECT_TRUE(at::equal(generator.get_state(), twin.get_state()));
}

TEST(RandomKeys, FollowSeedsAndStates) {
  const at::Generator& shared = at::detail::getDefaultCPUGenerator();
  at::manual_seed(3);
  const uint64_t first = draw_key(std::nullopt, at::kCPU);
  const at::Tensor state = shared.get_state();
  const uint64_t second = draw_key(std::nullopt, at::kCPU);
  EXPECT_NE(first, second);
  at::Generator(shared).set_state(state);
  EXPECT_EQ(draw_key(at::Generator(), at::kCPU), second);
  at::manual_seed(3);
  EXPECT_EQ(draw_key(std::nullopt, at::kCPU), first);
}

/// A generator like CUDA's: a seed and an offset.
struct CounterGenerator : c10::GeneratorImpl {
  uint64_t seed_ = 0, offset_ = 0;
  CounterGenerator() : GeneratorImpl(at::Device(at::kCUDA, 0), c10::DispatchKeySet(c10::DispatchKey::CUDA)) {}
  void set_current_seed(uint64_t seed) override { seed_ = seed; }
  void set_offset(uint64_t offset) override { offset_ = offset; }
  uint64_t get_offset() const override { return offset_; }
  uint64_t current_seed() const override { return seed_; }
  uint64_t seed() override { return seed_; }
  void set_state(const c10::TensorImpl&) override {}
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return {}; }
  GeneratorImpl* clone_impl() const override { return new CounterGenerator(*this); }
  CounterGenerator(const CounterGenerator& other) : CounterGenerator() {
    seed_ = other.seed_;
    offset_ = other.offset_;
  }
};

TEST(RandomKeys, OfSeedAndOffset) {
  auto generator = at::make_generator<CounterGenerator>();
  auto* state = generator.get<CounterGenerator>();
  std::set<uint64_t> keys;
  for (const uint64_t seed : {0, 1, 2}) {
    state->seed_ = seed;
    state->offset_ = 0;
    for (int i = 0; i < 100; ++i) keys.insert(draw_key(generator, {at::kCUDA, 0}));
    EXPECT_EQ(state->offset_, 400u);
  }
  EXPECT_EQ(keys.size(), 300u);
  EXPECT_THROW(draw_key(generator, at::kCPU), c10::Error);
  EXPECT_THROW(draw_key(at::detail::createCPUGenerator(), {at::kCUDA, 0}), c10::Error);
}

/// What CUDA's does while a graph is captured.
struct CapturedGenerator : CounterGenerator {
  uint64_t current_seed() const override { TORCH_CHECK(false, "not during CUDA graph capture"); }
};

TEST(RandomDraws, AreToldByWhereTheGeneratorIs) {
  auto generator = at::make_generator<CounterGenerator>();
  const auto identity_after = [&](bool draws) {
    const RunningOp running("op", 1, nullptr);
    const Draws around(generator, {at::kCUDA, 0});
    if (draws) generator.get<CounterGenerator>()->offset_ += 4;
    around.finish();
    return RunningOp::current()->identity();
  };
  const Identity before = identity_after(false);
  EXPECT_EQ(identity_after(false), before);
  EXPECT_NE(identity_after(true), before);
}

TEST(RandomKey, IsRefusedWhileAGraphIsCaptured) {
  const at::Generator captured = at::make_generator<CapturedGenerator>();
  EXPECT_THAT(test::error_of<c10::NotImplementedError>([&] { draw_key(captured, {at::kCUDA, 0}); }),
              ::testing::HasSubstr("the generator of cuda:0 does not tell what to draw by"));
}

TEST(RandomDraws, AreNotToldWhileAGraphIsCaptured) {
  const RunningOp running("op", 1, nullptr);
  const Draws around(at::make_generator<CapturedGenerator>(), {at::kCUDA, 0});
  around.finish();
  EXPECT_EQ(RunningOp::current()->identity(), Identity{1});
}

TEST(RandomMode, ScopesAreOfTheirThread) {
  EXPECT_EQ(mode(), Mode::counter);
  {
    ModeScope outer(Mode::replay);
    EXPECT_EQ(mode(), Mode::replay);
    {
      ModeScope inner(Mode::counter);
      EXPECT_EQ(mode(), Mode::counter);
    }
    EXPECT_EQ(mode(), Mode::replay);
    std::thread([] { EXPECT_EQ(mode(), Mode::counter); }).join();
  }
  set_mode(Mode::replay);
  std::thread([] { EXPECT_EQ(mode(), Mode::replay); }).join();
  set_mode(Mode::counter);
  EXPECT_EQ(mode(), Mode::counter);
}

}  // namespace
}  // namespace weft::random
