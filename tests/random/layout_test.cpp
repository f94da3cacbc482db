// The promise that a value depends on the key and its global index alone, and which value it is.
#include "random/fixture.h"
#include "random/philox.h"

namespace weft::random {
namespace {

using namespace testing;

const std::vector<Op>& every_op() {
  const at::Tensor probabilities = at::linspace(0, 1, 35 * 6).view({7, 5, 6});
  static const std::vector<Op> ops = {
      {"uniform_", "", {-2.0, 3.0}},
      {"uniform_", "", {-2.0, 3.0}, at::kDouble},
      {"uniform_", "", {0.0, 1.0}, at::kHalf},
      {"uniform_", "", {0.0, 1.0}, at::kBFloat16},
      {"uniform_", "", {0.0, 1.0}, at::kComplexFloat},
      {"normal_", "", {1.0, 2.0}},
      {"normal_", "", {1.0, 2.0}, at::kDouble},
      {"normal_", "", {1.0, 2.0}, at::kHalf},
      {"normal_", "", {1.0, 2.0}, at::kComplexDouble},
      {"normal", "Tensor_float", {}},
      {"bernoulli_", "float", {0.3}},
      {"bernoulli_", "float", {0.3}, at::kBool},
      {"bernoulli_", "Tensor", {probabilities}},
      {"bernoulli_", "Tensor", {probabilities.slice(0, 3, 4)}, at::kLong},
      {"exponential_", "", {1.5}},
      {"exponential_", "", {1.5}, at::kDouble},
      {"geometric_", "", {0.2}},
      {"geometric_", "", {0.2}, at::kInt},
      {"cauchy_", "", {0.0, 1.0}},
      {"log_normal_", "", {0.0, 0.5}},
      {"random_", "", {}, at::kLong},
      {"random_", "", {}, at::kByte},
      {"random_", "to", {int64_t{1000}}, at::kInt},
      {"random_", "from", {int64_t{-5}, int64_t{5}}},
      {"randint_like", "low_dtype", {int64_t{3}, int64_t{9}}, at::kShort},
      {"rand_like", "generator", {}},
      {"poisson", "", {}},
      {"binomial", "", {}},
      {"_standard_gamma", "", {}},
  };
  return ops;
}

/// The arguments of ops whose parameters are tensors of the result's shape.
std::vector<c10::IValue> arguments(const Op& op, const at::Tensor& out, const Ranges* ranges) {
  const auto cut = [&](const at::Tensor& whole) { return ranges != nullptr ? part(whole, *ranges) : whole; };
  const std::string name = op.name;
  const at::Tensor ramp = at::linspace(0, 40, 7 * 5 * 6).view({7, 5, 6});
  if (name == "poisson" || name == "_standard_gamma") return {cut(ramp)};
  if (name == "binomial") return {cut(at::full({7, 1, 6}, 30.0)), cut(ramp / 40)};
  if (name == "normal") return {cut(ramp), 2.0};
  std::vector<c10::IValue> args = {out};
  for (const c10::IValue& arg : op.args) args.push_back(arg.isTensor() ? c10::IValue(cut(arg.toTensor())) : arg);
  return args;
}

void fill_from(const Op& op, at::Tensor& out, const GlobalIndex& index, const Ranges* ranges) {
  const Sampler* sampler = find_sampler({std::string("aten::") + op.name, op.overload});
  ASSERT_NE(sampler, nullptr) << label(op);
  sampler->fill(out, index, arguments(op, out, ranges), kKey);
}

// The contract with users' seeds: these values must never change, but for the last digits of libm's functions.
TEST(RandomContract, FirstValuesOfAKey) {
  const auto expect = [](const Op& op, std::vector<double> wanted) {
    at::Tensor out = at::zeros({7, 5, 6}, op.dtype);
    fill_from(op, out, whole_index({7, 5, 6}), nullptr);
    const at::Tensor values = out.flatten().slice(0, 100, 104).to(at::kDouble);
    for (int64_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(values[i].item<double>(), wanted[i], 1e-6 * std::abs(wanted[i])) << label(op);
    }
  };
  expect({"uniform_", "", {-2.0, 3.0}}, {-0.749082327, -0.251417637, 1.31620789, 0.773830891});
  expect({"uniform_", "", {-2.0, 3.0}, at::kDouble}, {0.207481731, 1.84497014, 1.2859777, 2.88667232});
  expect({"uniform_", "", {0.0, 1.0}, at::kHalf}, {0.25, 0.349609375, 0.663085938, 0.5546875});
  expect({"uniform_", "", {0.0, 1.0}, at::kBFloat16}, {0.25, 0.34765625, 0.66015625, 0.5546875});
  expect({"normal_", "", {1.0, 2.0}}, {-0.952134013, 3.69697142, -0.706187129, 0.388564467});
  expect({"normal_", "", {1.0, 2.0}, at::kDouble}, {1.30449287, -1.53928501, 2.81398479, 0.73990653});
  expect({"log_normal_", "", {0.0, 0.5}}, {0.613832295, 1.96254647, 0.652759314, 0.858250856});
  expect({"bernoulli_", "float", {0.3}}, {1, 0, 0, 0});
  expect({"exponential_", "", {1.5}}, {0.923706889, 0.700421691, 0.273744017, 0.392805636});
  expect({"exponential_", "", {1.5}, at::kDouble}, {0.545057023, 0.175114717, 0.279849119, 0.0152842312});
  expect({"geometric_", "", {0.2}}, {4, 2, 2, 1});
  expect({"cauchy_", "", {0.0, 1.0}}, {-0.998847246, -0.510647833, 0.563091338, 0.173771217});
  expect({"random_", "", {}, at::kByte}, {113, 196, 168, 250});
  expect({"random_", "to", {int64_t{1000}}, at::kInt}, {441, 768, 657, 977});
  expect({"randint_like", "low_dtype", {int64_t{3}, int64_t{9}}, at::kShort}, {5, 7, 6, 8});
  expect({"poisson", "", {}}, {17, 16, 18, 22});
  expect({"binomial", "", {}}, {17, 12, 13, 17});
  expect({"_standard_gamma", "", {}}, {21.6373005, 18.1243458, 15.8170424, 17.5681782});
}

TEST(RandomContract, FormulasOfTheHeader) {
  const Words w = philox(kKey, 0);
  const auto top = [&](int k) { return (w.w[k] >> 8) * 0x1p-24; };
  const at::Tensor uniforms = run_whole({"uniform_", "", {0.0, 1.0}}, {4});
  for (int k = 0; k < 4; ++k) EXPECT_EQ(uniforms[k].item<float>(), top(k));
  const at::Tensor doubles = run_whole({"uniform_", "", {0.0, 1.0}, at::kDouble}, {2});
  EXPECT_EQ(doubles[1].item<double>(), ((w.w[2] | uint64_t{w.w[3]} << 32) >> 11) * 0x1p-53);
  const double r = std::sqrt(-2 * std::log((w.w[0] >> 1) * 0x1p-31 + 0x1p-32));
  const double angle = 2 * M_PI * (w.w[1] >> 30) / 4 + (static_cast<int32_t>(w.w[1] << 2) >> 8) * 0x1p-23 * M_PI / 4;
  const at::Tensor normals = run_whole({"normal_", "", {0.0, 1.0}}, {2});
  EXPECT_NEAR(normals[0].item<double>(), r * std::cos(angle), 1e-6);
  EXPECT_NEAR(normals[1].item<double>(), r * std::sin(angle), 1e-6);
}

/// Deals pieces of random lengths (zero among them) of each dimension out to `parts` ranks.
std::vector<Ranges> random_split(c10::IntArrayRef sizes, std::mt19937& random) {
  std::vector<Ranges> split;  // [dimension][rank] -> ranges
  for (const int64_t size : sizes) {
    Ranges ranks(1 + random() % 3);
    for (int64_t start = 0; start < size;) {
      const int64_t length = std::min<int64_t>(random() % (size + 1), size - start);
      ranks[random() % ranks.size()].push_back({start, length});
      start += length;
    }
    split.push_back(ranks);
  }
  return split;
}

/// Memory for a shard: contiguous, permuted or with gaps.
at::Tensor memory(c10::IntArrayRef sizes, at::ScalarType dtype, std::mt19937& random) {
  switch (random() % 3) {
    case 0:
      return at::zeros(sizes, dtype);
    case 1:
      return at::zeros({sizes[2], sizes[0], sizes[1]}, dtype).permute({1, 2, 0});
    default:
      return at::zeros({sizes[0] + 1, sizes[1], 2 * sizes[2]}, dtype).slice(0, 1).slice(2, 0, 2 * sizes[2], 2);
  }
}

TEST(RandomLayouts, EveryShardHoldsThePartOfTheWhole) {
  const std::vector<int64_t> sizes = {7, 5, 6};
  std::mt19937 random(1);
  for (const Op& op : every_op()) {
    at::Tensor whole = at::zeros(sizes, op.dtype);
    fill_from(op, whole, whole_index(sizes), nullptr);
    for (int repeat = 0; repeat < 12; ++repeat) {
      const std::vector<Ranges> split = random_split(sizes, random);
      for (const auto& rows : split[0]) {
        for (const auto& columns : split[1]) {
          for (const auto& depths : split[2]) {
            const Ranges mine = {rows, columns, depths};
            const at::Tensor wanted = part(whole, mine);
            at::Tensor shard = memory(wanted.sizes(), op.dtype, random);
            fill_from(op, shard, {{7, 5, 6}, mine}, &mine);
            ASSERT_TRUE(at::equal(shard, wanted)) << label(op) << "\n" << shard << "\n" << wanted;
          }
        }
      }
    }
  }
}

TEST(RandomLayouts, LongRunsCutAnywhere) {
  const int64_t size = 70'000;  // several blocks, several threads
  for (const char* name : {"uniform_", "normal_"}) {
    const Op op = {name, "", {0.0, 1.0}};
    const at::Tensor whole = run_whole(op, {size});
    for (const int64_t cut : {1, 2, 3, 5, 31, 32, 33, 1027, 65'537}) {
      for (const int64_t length : {int64_t{1}, int64_t{7}, int64_t{33}, size - cut}) {
        const int64_t n = std::min(length, size - cut);
        at::Tensor shard = at::zeros({n});
        run(op, shard, {{size}, {{{cut, n}}}});
        ASSERT_TRUE(at::equal(shard, whole.narrow(0, cut, n))) << name << " " << cut << " " << n;
      }
    }
  }
}

TEST(RandomLayouts, StridesDoNotMatter) {
  const Op op = {"normal_", "", {0.0, 1.0}};
  at::Tensor last = at::empty({2, 3, 4, 5}, at::MemoryFormat::ChannelsLast);
  run(op, last, whole_index({2, 3, 4, 5}));
  EXPECT_TRUE(at::equal(last, run_whole(op, {2, 3, 4, 5})));
  at::Tensor flat = run_whole(op, {120});
  EXPECT_TRUE(at::equal(last.reshape({120}), flat));
}

TEST(RandomLayouts, ScalarsAndEmptyTensors) {
  const Op op = {"uniform_", "", {0.0, 1.0}};
  EXPECT_EQ(run_whole(op, {}).item<float>(), run_whole(op, {1}).item<float>());
  EXPECT_EQ(run_whole(op, {0, 4}).numel(), 0);
  at::Tensor shard = at::zeros({0, 4});
  run(op, shard, {{3, 4}, {{}, {{0, 4}}}});
  at::Tensor repeated = at::zeros({1}).expand({3});
  EXPECT_THROW(run(op, repeated, whole_index({3})), c10::Error);
}

}  // namespace
}  // namespace weft::random
