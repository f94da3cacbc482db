#include "layout/shard.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "random"

namespace weft {
namespace {

std::vector<int64_t> listed(const std::vector<IndexRange>& ranges) {
  std::vector<int64_t> out;
  for (const IndexRange& range : ranges) {
    for (int64_t i = 0; i < range.length; ++i) out.push_back(range.start + i);
  }
  return out;
}

std::vector<int64_t> values(const at::Tensor& t) {
  const at::Tensor dense = t.contiguous();
  return {dense.const_data_ptr<int64_t>(), dense.const_data_ptr<int64_t>() + dense.numel()};
}

// What torch.chunk gives part `index`; empty where it gives fewer chunks.
at::Tensor torch_chunk(const at::Tensor& t, int64_t parts, int64_t index, int64_t dim = 0) {
  if (t.size(dim) == 0) return t;
  const std::vector<at::Tensor> chunks = t.chunk(parts, dim);
  if (index < static_cast<int64_t>(chunks.size())) return chunks[index];
  return t.slice(dim, 0, 0);
}

TEST(Shard, ChunksAreThoseOfTorch) {
  for (int64_t size : {0, 1, 2, 5, 7, 8, 12, 13}) {
    for (int64_t parts = 1; parts <= 9; ++parts) {
      for (int64_t index = 0; index < parts; ++index) {
        const at::Tensor expected = torch_chunk(at::arange(size), parts, index);
        EXPECT_EQ(chunk_length(size, parts, index), expected.numel()) << size << " " << parts << " " << index;
        if (expected.numel() > 0) {
          EXPECT_EQ(chunk_start(size, parts, index), expected[0].item<int64_t>());
        }
      }
    }
  }
}

TEST(Shard, NestedSplitsAreChunksOfChunks) {
  Mesh mesh = DeviceMesh::get({2, 3}, {"a", "b"});
  Layout layout = TensorLayout::from_names(mesh, {{"b", "a"}, {}});
  for (int64_t size : {0, 1, 4, 6, 7, 11, 13}) {
    for (int64_t a = 0; a < 2; ++a) {
      for (int64_t b = 0; b < 3; ++b) {
        const at::Tensor expected = torch_chunk(torch_chunk(at::arange(size), 3, b), 2, a);
        EXPECT_EQ(listed(local_indices(layout, 0, size, {a, b})), values(expected));
        EXPECT_EQ(local_sizes(layout, {size, 5}, {a, b}), (Sizes{expected.numel(), 5}));
      }
    }
  }
}

TEST(Shard, BlockedSplitsChunkEachBlock) {
  Mesh mesh = DeviceMesh::get({3}, {"a"});
  Layout layout = TensorLayout::get(mesh, {{{0, 5}}});
  for (int64_t a = 0; a < 3; ++a) {
    const at::Tensor expected = torch_chunk(at::arange(20).view({4, 5}), 3, a, 1);
    EXPECT_EQ(listed(local_indices(layout, 0, 20, {a})), values(expected));
    EXPECT_EQ(local_size(layout, 0, 20, {a}), expected.numel());
    EXPECT_EQ(local_size(layout, 0, 0, {a}), 0);
  }
  EXPECT_THROW(local_size(layout, 0, 21, {0}), c10::Error);
}

TEST(Shard, NeighbouringRangesAreOne) {
  Mesh mesh = DeviceMesh::get({1, 2}, {"one", "two"});
  Layout layout = TensorLayout::get(mesh, {{{0, 4}, {1}}});
  ASSERT_EQ(local_indices(layout, 0, 12, {0, 1}).size(), 1);
  EXPECT_EQ(local_indices(layout, 0, 12, {0, 1})[0].start, 6);
  EXPECT_TRUE(local_indices(layout, 0, 0, {0, 1}).empty());
}

TEST(Shard, EvenMeansOneSizeForAll) {
  Mesh mesh = DeviceMesh::get({2, 3}, {"a", "b"});
  Layout both = TensorLayout::from_names(mesh, {{"a", "b"}});
  EXPECT_TRUE(is_even(both, 0, 12));
  EXPECT_FALSE(is_even(both, 0, 8));
  EXPECT_FALSE(is_even(both, 0, 9));
  EXPECT_TRUE(is_even(both, 0, 0));
  EXPECT_TRUE(is_even(TensorLayout::replicated(mesh, 1), 0, 7));
  EXPECT_TRUE(is_even(TensorLayout::get(mesh, {{{1, 6}}}), 0, 18));
  EXPECT_FALSE(is_even(TensorLayout::get(mesh, {{{1, 4}}}), 0, 12));
}

TEST(Shard, MemoryOrderIsThatOfPreserveFormat) {
  const at::Tensor image = at::empty({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_EQ(memory_order(image.strides()), (Sizes{0, 2, 3, 1}));
  EXPECT_EQ(dense_strides({2, 3, 4, 5}, image.strides()), Sizes(image.strides()));
  EXPECT_EQ(row_major_strides({2, 0, 4}), Sizes(at::empty({2, 0, 4}).strides()));
  EXPECT_EQ(memory_order(at::empty({2, 3}).expand({4, 2, 3}).strides()), (Sizes{1, 2, 0}));
}

// Over the ranks along the splitting axes, the shards hold every index exactly once.
TEST(Shard, ShardsPartitionTheRange) {
  std::mt19937 random(1);
  auto draw = [&](int64_t n) { return static_cast<int64_t>(random() % n); };
  Mesh mesh = DeviceMesh::get({2, 3, 2}, {"a", "b", "c"});
  for (int round = 0; round < 300; ++round) {
    std::vector<int> axes{0, 1, 2};
    std::shuffle(axes.begin(), axes.end(), random);
    axes.resize(draw(4));
    const int64_t size = draw(3) == 0 ? draw(12) : 24;
    std::vector<Split> splits;
    for (int axis : axes) {
      int64_t block = 0;
      if (size == 24 && draw(2) == 0 && splits.empty()) block = std::array<int64_t, 4>{2, 4, 6, 8}[draw(4)];
      splits.push_back({axis, block});
    }
    Layout layout = TensorLayout::get(mesh, {splits});
    std::vector<int> times(size);
    for (int64_t a = 0; a < 2; ++a) {
      for (int64_t b = 0; b < 3; ++b) {
        for (int64_t c = 0; c < 2; ++c) {
          const std::vector<int64_t> held = listed(local_indices(layout, 0, size, {a, b, c}));
          EXPECT_EQ(static_cast<int64_t>(held.size()), local_size(layout, 0, size, {a, b, c}));
          for (int64_t i : held) ++times.at(i);
        }
      }
    }
    int copies = 12;
    for (int axis : axes) copies /= static_cast<int>(mesh->axis_size(axis));
    EXPECT_EQ(times, std::vector<int>(size, copies)) << layout->str() << " of " << size;
  }
}

}  // namespace
}  // namespace weft
