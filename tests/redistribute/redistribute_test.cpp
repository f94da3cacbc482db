#include "redistribute/redistribute.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <weft/cost.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <random>

#include "comm/wire/collectives.h"
#include "layout/shard.h"
#include "support/run_ranks.h"
#include "support/sent.h"

namespace weft {
namespace {

using Coordinate = std::vector<int64_t>;
using Random = std::mt19937;

int64_t draw(Random& random, int64_t n) { return static_cast<int64_t>(random() % n); }

template <class T>
const T& pick(Random& random, const std::vector<T>& from) {
  return from[draw(random, from.size())];
}

// ---- the oracle: nothing here shares code with what is tested but local_indices, which has its own test -------------

// The part of `whole` that the rank at `coordinates` holds, pending axes aside.
at::Tensor part(const at::Tensor& whole, Layout layout, const Coordinate& coordinates) {
  at::Tensor out = whole;
  for (int64_t d = 0; d < whole.dim(); ++d) {
    std::vector<int64_t> indices;
    for (const IndexRange& range : local_indices(layout, d, whole.size(d), coordinates)) {
      for (int64_t i = 0; i < range.length; ++i) indices.push_back(range.start + i);
    }
    out = out.index_select(d, at::tensor(indices, at::kLong));
  }
  return out;
}

at::Tensor reduce(const at::Tensor& stacked, Reduction reduction) {
  switch (reduction) {
    case Reduction::sum:
      return stacked.sum(0);
    case Reduction::avg:
      return stacked.mean(0);
    case Reduction::max:
      return stacked.amax(0);
    case Reduction::min:
      return stacked.amin(0);
    case Reduction::product:
      return stacked.prod(0);
    default:
      return stacked.square().sum(0).sqrt();
  }
}

// What the tensors of all ranks (in the mesh's order) make up, last axis first; one result per rank that differs only
// along axes that are not pending.
std::vector<at::Tensor> reduce_pending(std::vector<at::Tensor> tensors, Layout layout) {
  Mesh mesh = layout->mesh();
  int64_t inner = 1;  // ranks between neighbours along the axis
  for (int axis = mesh->ndim() - 1; axis >= 0; inner *= mesh->axis_size(axis--)) {
    if (layout->partial()[axis] == Reduction::none) continue;
    std::vector<at::Tensor> next(tensors.size());
    for (int64_t rank = 0; rank < mesh->size(); ++rank) {
      const int64_t first = rank - mesh->coordinates_of(rank)[axis] * inner;
      std::vector<at::Tensor> parts;
      for (int64_t i = 0; i < mesh->axis_size(axis); ++i) parts.push_back(tensors[first + i * inner]);
      next[rank] = reduce(at::stack(parts), layout->partial()[axis]);
    }
    tensors = std::move(next);
  }
  return tensors;
}

std::vector<int64_t> random_order(Random& random, int64_t ndim) {
  std::vector<int64_t> order(ndim);
  std::iota(order.begin(), order.end(), 0);
  if (draw(random, 2) == 0) std::shuffle(order.begin(), order.end(), random);
  return order;
}

// `x` in memory with its dimensions in that order, outermost first.
at::Tensor laid_out(const at::Tensor& x, const std::vector<int64_t>& order) {
  std::vector<int64_t> position(order.size());
  for (size_t i = 0; i < order.size(); ++i) position[order[i]] = static_cast<int64_t>(i);
  return x.permute(order).contiguous().permute(position);
}

// ---- random cases
// ----------------------------------------------------------------------------------------------------

bool fits(const TensorLayout::Dims& dims, Mesh mesh, int64_t d, int64_t size, int64_t block) {
  if (size % block != 0) return false;
  TensorLayout::Dims outer(dims.size());
  outer[d] = dims[d];
  Layout layout = TensorLayout::get(mesh, outer);
  for (int64_t rank = 0; rank < mesh->size(); ++rank) {
    if (local_size(layout, d, size, mesh->coordinates_of(rank)) % block != 0) return false;
  }
  return true;
}

Layout random_layout(Random& random, Mesh mesh, const std::vector<int64_t>& sizes) {
  TensorLayout::Dims dims(sizes.size());
  TensorLayout::Partial partial{};
  std::vector<int> axes(mesh->ndim());
  std::iota(axes.begin(), axes.end(), 0);
  std::shuffle(axes.begin(), axes.end(), random);
  for (int axis : axes) {
    const int64_t kind = draw(random, 8);
    if (kind < 5 && !sizes.empty()) {
      const int64_t d = draw(random, sizes.size());
      int64_t block = kind < 3 ? 0 : pick<int64_t>(random, {1, 2, 3, 4, 6});
      if (block > 0 && !fits(dims, mesh, d, sizes[d], block)) block = 0;
      dims[d].push_back({axis, block});
    } else if (kind == 6) {
      partial[axis] = static_cast<Reduction>(1 + draw(random, 6));
    }
  }
  return TensorLayout::get(mesh, dims, partial);
}

struct Case {
  std::vector<int64_t> sizes;
  Layout from;
  Layout to;
  at::ScalarType dtype;
  std::vector<int64_t> order;  // of dimensions in memory
  bool pass_strides;
  at::Tensor whole;                // the value
  std::vector<at::Tensor> inputs;  // per rank
  std::vector<at::Tensor> outputs;
  std::vector<int64_t> collectives;

  std::string str() const {
    return c10::str("shape ", c10::IntArrayRef(sizes), " ", dtype, " order ", c10::IntArrayRef(order), " ",
                    from->describe(), " -> ", to->describe(), pass_strides ? " with strides" : "");
  }
};

// Types whose values are exact: small whole numbers, as long as they are only added and compared.
at::ScalarType random_dtype(Random& random, Layout from, Layout to) {
  for (Layout layout : {from, to}) {
    for (Reduction r : layout->partial()) {
      if (r == Reduction::avg || r == Reduction::product || r == Reduction::norm2) {
        return pick<at::ScalarType>(random, {at::kFloat, at::kDouble});
      }
    }
  }
  return pick<at::ScalarType>(random, {at::kFloat, at::kDouble, at::kBFloat16, at::kLong, at::kShort, at::kByte});
}

Case random_case(Random& random, Mesh mesh) {
  Case c;
  for (int64_t d = draw(random, 4); d > 0; --d) {
    c.sizes.push_back(pick<int64_t>(random, {1, 2, 3, 4, 5, 6, 7, 8, 12, 12, 24}));
  }
  if (!c.sizes.empty() && draw(random, 20) == 0) c.sizes[draw(random, c.sizes.size())] = 0;
  c.from = random_layout(random, mesh, c.sizes);
  c.to = random_layout(random, mesh, c.sizes);
  c.dtype = random_dtype(random, c.from, c.to);
  c.order = random_order(random, c.sizes.size());
  c.pass_strides = draw(random, 2) == 0;

  std::vector<at::Tensor> parts;  // of the full shape; equal along axes that are not pending
  for (int64_t rank = 0; rank < mesh->size(); ++rank) {
    const Coordinate coordinates = mesh->coordinates_of(rank);
    int64_t seed = 1000;
    for (int axis = 0; axis < mesh->ndim(); ++axis) {
      const bool is_pending = c.from->partial()[axis] != Reduction::none;
      seed = seed * 8 + (is_pending ? coordinates[axis] : 0);
    }
    int64_t numel = 1;
    for (int64_t size : c.sizes) numel *= size;
    Random values(static_cast<unsigned>(seed));
    std::vector<double> data(numel);
    for (double& value : data) value = static_cast<double>(1 + draw(values, 9));
    parts.push_back(at::tensor(data, at::kDouble).view(c.sizes).to(c.dtype));
  }
  c.whole = reduce_pending(parts, c.from)[0].to(c.dtype);  // a sum of whole numbers is wider
  for (int64_t rank = 0; rank < mesh->size(); ++rank) {
    c.inputs.push_back(laid_out(part(parts[rank], c.from, mesh->coordinates_of(rank)), c.order));
  }
  c.outputs.resize(mesh->size());
  c.collectives.resize(mesh->size());
  return c;
}

void check(const Case& c) {
  SCOPED_TRACE(c.str());
  Mesh mesh = c.from->mesh();
  const std::vector<at::Tensor> values = reduce_pending(c.outputs, c.to);
  for (int64_t rank = 0; rank < mesh->size(); ++rank) {
    const at::Tensor expected = part(c.whole, c.to, mesh->coordinates_of(rank));
    ASSERT_EQ(c.outputs[rank].sizes(), expected.sizes()) << "rank " << rank;
    ASSERT_EQ(c.outputs[rank].dtype(), expected.dtype());
    // avg, product and norm2 round, and in another order than the oracle's
    ASSERT_TRUE(at::allclose(values[rank].to(c.dtype), expected, 1e-5, 0)) << "rank " << rank << "\n"
                                                                           << values[rank] << expected;
    if (!c.from->has_partial() && !c.to->has_partial()) {
      ASSERT_TRUE(at::equal(values[rank].to(c.dtype), expected)) << "rank " << rank;
    }
    const at::Tensor& local = c.outputs[rank];
    const bool ambiguous = std::any_of(local.sizes().begin(), local.sizes().end(), [](int64_t n) { return n < 2; });
    ASSERT_TRUE(local.is_non_overlapping_and_dense()) << local.strides();
    const auto& input = c.inputs[rank].sizes();
    if (c.pass_strides || !(ambiguous || std::any_of(input.begin(), input.end(), [](int64_t n) { return n < 2; }))) {
      ASSERT_TRUE(local.permute(c.order).is_contiguous()) << "rank " << rank << " strides " << local.strides();
    }
    ASSERT_EQ(c.collectives[rank], c.collectives[0]) << "rank " << rank;
  }
  const double cost = redistribution_seconds(c.sizes, static_cast<int64_t>(c10::elementSize(c.dtype)), c.from, c.to);
  ASSERT_EQ(cost == 0, c.collectives[0] == 0) << cost << " for " << c.collectives[0] << " collectives";
}

void check_random_cases(const std::vector<int64_t>& shape, int count) {
  std::vector<std::string> names;
  for (size_t a = 0; a < shape.size(); ++a) names.push_back(c10::str("a", a));
  Mesh mesh = DeviceMesh::get(shape, names);
  Random random(static_cast<unsigned>(7 * mesh->size() + mesh->ndim()));
  std::vector<Case> cases;
  if (const char* times = std::getenv("WEFT_PROPERTIES")) count *= std::atoi(times);  // for a longer search
  for (int i = 0; i < count; ++i) cases.push_back(random_case(random, mesh));

  const test::Sent sent;
  test::run_ranks(static_cast<int>(mesh->size()), [&](int rank) {
    for (Case& c : cases) {
      const size_t before = sent.count(rank);
      const at::Tensor copy = c.inputs[rank].clone();
      std::vector<int64_t> strides;
      if (c.pass_strides) {
        const at::Tensor like = laid_out(at::empty(c.sizes), c.order);
        strides.assign(like.strides().begin(), like.strides().end());
      }
      c.outputs[rank] = redistribute_local(c.inputs[rank], c.sizes, c.from, c.to, strides);
      TORCH_CHECK(at::equal(copy, c.inputs[rank]), "changed its input: ", c.str());
      c.collectives[rank] = static_cast<int64_t>(sent.count(rank) - before);
    }
  });
  for (const Case& c : cases) {
    check(c);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Redistribute, RandomLayoutsOnTwoRanks) { check_random_cases({2}, 400); }
TEST(Redistribute, RandomLayoutsOnThreeRanks) { check_random_cases({3}, 400); }
TEST(Redistribute, RandomLayoutsOnFourRanks) { check_random_cases({4}, 400); }
TEST(Redistribute, RandomLayoutsOnTwoByTwo) { check_random_cases({2, 2}, 600); }
TEST(Redistribute, RandomLayoutsOnTwoByThree) { check_random_cases({2, 3}, 600); }
TEST(Redistribute, RandomLayoutsOnTwoByTwoByTwo) { check_random_cases({2, 2, 2}, 600); }
TEST(Redistribute, RandomLayoutsOnTwoByFour) { check_random_cases({2, 4}, 400); }
TEST(Redistribute, RandomLayoutsOnEight) { check_random_cases({8}, 300); }
TEST(Redistribute, RandomLayoutsWithAnAxisOfSizeOne) { check_random_cases({1, 4}, 400); }

}  // namespace
}  // namespace weft
