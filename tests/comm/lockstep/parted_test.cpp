#include "comm/lockstep/parted.h"

#include <cmath>

#include "comm/names.h"

namespace weft::comm {
namespace {

Call call(Mesh mesh, int axis) {
  Call c;
  c.event = {"all_gather", mesh, axis, 16, 4, c10::kFloat};
  c.op = "full_tensor";
  return c;
}

TEST(Parted, EachRankLooksAtFewOthers) {
  EXPECT_THAT(looked_at_by(0, 1), ElementsAre());
  EXPECT_THAT(looked_at_by(0, 2), ElementsAre(1));
  EXPECT_THAT(looked_at_by(1, 5), ElementsAre(0, 2, 3, 4));
  for (int64_t n : {3, 64, 10000}) {
    const auto most = static_cast<size_t>(2 * std::ceil(std::log2(n)));
    for (int64_t rank = 0; rank < n; rank += 1 + n / 100) {
      const auto others = looked_at_by(rank, n);
      EXPECT_LE(others.size(), most);
      EXPECT_THAT(others, testing::Contains((rank + 1) % n));  // whoever differs has a neighbour that sees it
      EXPECT_THAT(others, testing::Contains((rank + n - 1) % n));
    }
  }
}

// What a rank of 10,000 writes and reads when ranks part: bytes and keys, whatever went before.
TEST(Parted, OfTenThousandRanksEachReadsAndWritesLittle) {
  const Mesh mesh = DeviceMesh::get({100, 100}, {"data", "model"});
  RecentCalls calls;
  for (int i = 0; i < 1000; ++i) calls.add(call(mesh, i % 2));
  EXPECT_LT(calls.text().size(), 16u << 10);
  const auto waited = waited_for(call(mesh, 1), 1234, 10000);
  EXPECT_LE(looked_at_by(1234, 10000).size() + waited.size(), 28u + 14u);
}

TEST(Parted, WaitsForThoseInItsLine) {
  const Mesh mesh = DeviceMesh::get({2, 3}, {"a", "b"}, {5, 4, 3, 2, 1, 0});
  EXPECT_THAT(waited_for(call(mesh, 1), 4, 6), ElementsAre(5, 3));
  EXPECT_THAT(waited_for(call(mesh, 0), 4, 6), ElementsAre(1));
}

TEST(Parted, TellsWhoAndWhatAndWhere) {
  const Mesh mesh = DeviceMesh::get({3}, {"x"});
  const Failure lost =
      missing({1, 2}, 7, call(mesh, 0), "number 6, all_reduce", "[pair.cc:5] Connection closed. This is typically");
  EXPECT_EQ(lost.rank, -1);
  EXPECT_THAT(lost.message, HasSubstr("ranks 1, 2 have not come to collective number 7, all_gather over 'x'"));
  EXPECT_THAT(lost.message, HasSubstr("for [full_tensor]"));
  EXPECT_THAT(lost.message, HasSubstr("last seen in number 6, all_reduce (Connection closed)"));
  EXPECT_THAT(broken(7, call(mesh, 0), "Timed out\nmore").message, HasSubstr("cannot be finished: Timed out"));
  const Failure differ = differing({3, "mine", "theirs", false}, "; more", 2, 1);
  EXPECT_THAT(differ.message, HasSubstr("number 3: theirs on rank 1, but mine on rank 2; more"));
  EXPECT_THAT(differ.message, Not(HasSubstr("another value")));
}

}  // namespace
}  // namespace weft::comm
