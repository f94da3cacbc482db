#include "checkpoint/box.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "support/run_ranks.h"

namespace weft::checkpoint {
namespace {

const Mesh kMesh = DeviceMesh::get({2, 3}, {"a", "b"});

// Where each of the part's elements [first, first + count) lies in the full tensor, by its runs.
std::vector<int64_t> places(const Box& box, int64_t first, int64_t count) {
  std::vector<int64_t> found;
  int64_t next = first;
  box.runs(first, count, [&](const Box::Run& run) {
    EXPECT_EQ(run.part, next);
    next += run.length;
    EXPECT_GT(run.length, 0);
    for (int64_t i = 0; i < run.length; ++i) found.push_back(run.full + i);
  });
  EXPECT_EQ(next, first + count);
  return found;
}

// The same by slicing the full tensor's indices.
std::vector<int64_t> sliced(c10::IntArrayRef sizes, Layout layout, c10::IntArrayRef coordinates) {
  at::Tensor full = at::arange(c10::multiply_integers(sizes), at::kLong).view(sizes);
  for (int64_t d = 0; d < full.dim(); ++d) {
    std::vector<int64_t> indices;
    for (const IndexRange& range : local_indices(layout, d, sizes[d], coordinates)) {
      for (int64_t i = 0; i < range.length; ++i) indices.push_back(range.start + i);
    }
    full = full.index_select(d, at::tensor(indices, at::kLong));
  }
  full = full.contiguous();
  return {full.const_data_ptr<int64_t>(), full.const_data_ptr<int64_t>() + full.numel()};
}

TEST(Box, RunsAreThePartsElements) {
  struct Case {
    std::vector<int64_t> sizes;
    TensorLayout::Dims dims;
  };
  const std::vector<Case> cases = {
      {{7, 5}, {{}, {}}},
      {{7, 5}, {{{0}}, {}}},
      {{7, 5}, {{}, {{1}}}},
      {{7, 5}, {{{0}}, {{1}}}},
      {{7, 5}, {{{1}, {0}}, {}}},
      {{4, 3, 6}, {{{1}}, {}, {{0}}}},
      {{4, 1, 6}, {{}, {{0}}, {}}},
      {{12, 2}, {{{0, 6}}, {{1}}}},
      {{2, 0, 3}, {{}, {}, {{0}}}},
      {{5}, {{{0}, {1}}}},
      {{}, {}},
  };
  for (const Case& c : cases) {
    const Layout layout = TensorLayout::get(kMesh, c.dims);
    for (int64_t rank = 0; rank < kMesh->size(); ++rank) {
      const std::vector<int64_t> coordinates = kMesh->coordinates_of(rank);
      const Box box(c.sizes, layout, coordinates);
      const std::vector<int64_t> expected = sliced(c.sizes, layout, coordinates);
      ASSERT_EQ(box.numel(), static_cast<int64_t>(expected.size())) << layout->str();
      EXPECT_EQ(places(box, 0, box.numel()), expected) << layout->str();
      for (int64_t at = 0; at <= c10::multiply_integers(c.sizes); ++at) {
        const auto before = std::lower_bound(expected.begin(), expected.end(), at) - expected.begin();
        EXPECT_EQ(box.before(at), before) << at << " of " << layout->str();
      }
      for (int64_t first = 0; first < box.numel(); ++first) {
        for (int64_t count = 1; first + count <= box.numel(); count += 2) {
          EXPECT_EQ(places(box, first, count),
                    std::vector<int64_t>(expected.begin() + first, expected.begin() + first + count));
        }
      }
    }
  }
}

TEST(Box, WholeDimensionsMakeLongRuns) {
  const Layout rows = TensorLayout::get(kMesh, {{{0}}, {}, {}});
  EXPECT_EQ(Box({4, 3, 5}, rows, {0, 0}).longest_run(), 30);
  const Layout columns = TensorLayout::get(kMesh, {{}, {{1}}, {}});
  EXPECT_EQ(Box({4, 3, 5}, columns, {0, 0}).longest_run(), 5);
  EXPECT_EQ(Box({4, 3, 5}).longest_run(), 60);
  EXPECT_EQ(Box(c10::IntArrayRef{}).longest_run(), 1);
}

TEST(Box, BlocksAreRowMajorRangesOfBoundedSize) {
  const at::Tensor t = at::arange(4 * 5 * 6, at::kInt).view({6, 4, 5}).permute({1, 2, 0});
  const at::Tensor flat = t.contiguous().view(-1);
  for (int64_t bytes : {1, 4, 24, 100, 120, 481}) {
    int64_t next = 0;
    blocks(t, bytes, [&](const Block& block) {
      EXPECT_EQ(block.first, next);
      EXPECT_LE(block.elements.numel(), std::max<int64_t>(bytes / 4, 1));
      EXPECT_TRUE(at::equal(block.elements.contiguous().view(-1), flat.narrow(0, next, block.elements.numel())));
      next += block.elements.numel();
    });
    EXPECT_EQ(next, t.numel());
  }
}

TEST(Box, SharesAreEvenAndDisjoint) {
  for (int64_t numel : {0, 1, 1000, 1 << 20, (1 << 20) + 3}) {
    for (int64_t replicas : {1, 3, 4}) {
      for (int64_t turn : {0, 1, 5}) {
        std::vector<Share> shares;
        for (int64_t r = 0; r < replicas; ++r) shares.push_back(share_of(numel, 4, r, replicas, turn));
        std::sort(shares.begin(), shares.end(), [](const Share& x, const Share& y) { return x.first < y.first; });
        int64_t next = 0;
        for (const Share& share : shares) {
          if (share.count == 0) continue;
          EXPECT_EQ(share.first, next);
          next += share.count;
          if (numel > 1000) EXPECT_NEAR(share.count, numel / replicas, replicas);
        }
        EXPECT_EQ(next, numel);
      }
    }
  }
}

TEST(Box, ReplicasAreNumberedByTheAxesThatDoNotSplit) {
  const Layout layout = TensorLayout::get(kMesh, {{{0}}, {}});
  for (int64_t rank = 0; rank < 6; ++rank) {
    const Replica replica = replica_of(layout, kMesh->coordinates_of(rank));
    EXPECT_EQ(replica.count, 3);
    EXPECT_EQ(replica.index, rank % 3);
  }
}

}  // namespace
}  // namespace weft::checkpoint
