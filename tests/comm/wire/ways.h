#pragma once
// Collectives are tested on several numbers of ranks, backends and orders of the mesh, with tensors of all dtypes and
// in several orders of memory.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "comm/names.h"
#include "layout/shard.h"
#include "mesh/context.h"

namespace weft::comm {

constexpr at::ScalarType kAll[] = {at::kFloat,  at::kDouble, at::kHalf,   at::kBFloat16,     at::kByte,
                                   at::kChar,   at::kShort,  at::kInt,    at::kLong,         at::kBool,
                                   at::kUInt16, at::kUInt32, at::kUInt64, at::kComplexFloat, at::kFloat8_e4m3fn};

// Small whole numbers, so that sums are exact in every dtype and in any order; different on each rank.
inline at::Tensor values(c10::IntArrayRef sizes, at::ScalarType dtype, int64_t seed) {
  int64_t n = 1;
  for (int64_t s : sizes) n *= s;
  at::Tensor x = (at::arange(n, at::kLong) * (seed + 3) + 5 * seed).remainder(4);
  if (dtype == at::kComplexFloat) return at::complex(x.to(at::kFloat), x.to(at::kFloat).neg() + seed).view(sizes);
  return x.to(dtype).view(sizes);
}

// Rare dtypes have no kernel for equal.
inline at::Tensor comparable(const at::Tensor& x) {
  return x.is_complex() || x.scalar_type() == at::kBool ? x : x.to(at::kDouble);
}

inline void expect_same(const at::Tensor& got, const at::Tensor& expected, const std::string& what) {
  EXPECT_EQ(got.scalar_type(), expected.scalar_type()) << what;
  ASSERT_EQ(got.sizes(), expected.sizes()) << what;
  EXPECT_TRUE(at::equal(comparable(got), comparable(expected))) << what << "\n" << got << "\n" << expected;
}

inline std::vector<int64_t> chunks(int64_t size, int64_t parts) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < parts; ++i) out.push_back(chunk_length(size, parts, i));
  return out;
}
inline at::Tensor chunk_of(const at::Tensor& x, int64_t dim, int64_t parts, int64_t i) {
  return x.narrow(dim, chunk_start(x.size(dim), parts, i), chunk_length(x.size(dim), parts, i));
}

// The same elements in other memory: row-major, channels_last, transposed, a slice of something larger, broadcast.
enum Memory { row_major, channels_last, transposed, sliced };
inline at::Tensor relaid(const at::Tensor& x, Memory memory) {
  switch (memory) {
    case row_major:
      return x.contiguous();
    case channels_last:
      return x.dim() == 4 ? x.contiguous(at::MemoryFormat::ChannelsLast) : x.contiguous();
    case transposed:
      return x.transpose(0, -1).contiguous().transpose(0, -1);
    default:
      return at::stack({x, x}, -1).select(-1, 1);
  }
}

inline Mesh reversed(int n) {
  std::vector<int64_t> ranks(n);
  std::iota(ranks.rbegin(), ranks.rend(), 0);
  return DeviceMesh::get({n}, {"x"}, ranks);
}

struct Way {
  int ranks;
  const char* backend;
  bool backwards;  // the mesh lists the ranks from the last to the first
};
inline void PrintTo(const Way& way, std::ostream* out) {
  *out << way.ranks << way.backend << (way.backwards ? "_backwards" : "");
}

/// A test of it runs once for each of `ways()`.
class OnEveryWay : public testing::TestWithParam<Way> {
 protected:
  int n() const { return GetParam().ranks; }
  Mesh mesh() const { return GetParam().backwards ? reversed(n()) : line(n()); }
  void on_ranks(const std::function<void(int64_t coordinate)>& body) {
    LoopbackOptions options;
    options.backend = GetParam().backend;
    run_ranks(n(), [&](int) { body(context().bind(mesh()).coordinates[0]); }, options);
  }
};

inline auto ways() {
  return testing::Values(Way{1, "gloo", false}, Way{2, "gloo", false}, Way{3, "gloo", true}, Way{4, "gloo", false},
                         Way{5, "gloo", false}, Way{2, "nccl", false}, Way{3, "nccl", true}, Way{5, "nccl", false});
}

}  // namespace weft::comm
