#include "comm/lockstep/recent_calls.h"

#include "comm/names.h"

namespace weft::comm {
namespace {

Call call(const char* kind, int64_t elements = 4, Identity identity = 1) {
  Call c;
  c.event = {kind, line(2), 0, 16, elements, c10::kFloat};
  c.identity = identity;
  return c;
}

TEST(RecentCalls, DifferWhereTheRanksParted) {
  run_ranks(2, [](int) {
    RecentCalls mine, theirs;
    for (int i = 0; i < 20; ++i) EXPECT_EQ(mine.add(call("all_reduce")), theirs.add(call("all_reduce")));
    EXPECT_FALSE(mine.first_difference(theirs.text(), 1));
    theirs.add(call("all_gather"));  // one ahead
    EXPECT_FALSE(mine.first_difference(theirs.text(), 1));
    Call together;
    together.event = {"the making of process groups", nullptr};
    mine.add(together);
    mine.add(call("all_gather"));
    const auto difference = mine.first_difference(theirs.text(), 1);
    ASSERT_TRUE(difference);
    EXPECT_EQ(difference->number, 20);
    EXPECT_EQ(difference->mine, "the making of process groups");
    EXPECT_EQ(difference->theirs, "all_gather over 'x' of " + line(2)->str() + ", Float");
    EXPECT_FALSE(difference->same_words);
    EXPECT_EQ(mine.count(), 22);
    EXPECT_EQ(RecentCalls::count_in(mine.text()), 22);
  });
}

TEST(RecentCalls, KnowOnlyTheLastOnes) {
  RecentCalls mine, theirs;
  mine.add(call("all_gather"));
  theirs.add(call("all_to_all"));
  for (int i = 0; i < 100; ++i) theirs.add(call("all_reduce"));
  EXPECT_FALSE(mine.first_difference(theirs.text(), 1));
  EXPECT_FALSE(mine.first_difference("", 1));
  EXPECT_FALSE(mine.first_difference("any text\n-1 2 3 x\n", 1));
}

TEST(RecentCalls, DifferInTheValueThatIsMoved) {
  run_ranks(2, [](int) {
    RecentCalls mine, theirs;
    EXPECT_NE(mine.add(call("all_gather", 4, 1)), theirs.add(call("all_gather", 4, 2)));
    const auto difference = mine.first_difference(theirs.text(), 1);
    ASSERT_TRUE(difference);
    EXPECT_TRUE(difference->same_words);
  });
}

TEST(RecentCalls, DifferInSizeWithinALineOnly) {
  const Mesh mesh = DeviceMesh::get({2, 2}, {"a", "b"});
  run_ranks(4, [&](int rank) {
    if (rank != 0) return;
    RecentCalls mine, theirs;
    Call c = call("all_gather");
    c.event.mesh = mesh;
    c.event.axis = 1;
    const uint64_t fingerprint = mine.add(c);
    c.event.elements = 5;
    EXPECT_NE(fingerprint, theirs.add(c));
    EXPECT_TRUE(mine.first_difference(theirs.text(), 1));
    EXPECT_FALSE(mine.first_difference(theirs.text(), 2));
  });
}

TEST(RecentCalls, AreNumbered) {
  RecentCalls calls;
  EXPECT_EQ(calls.before_last(), "");
  EXPECT_NE(calls.add(call("all_gather")), calls.add(call("all_gather")));
  EXPECT_EQ(calls.before_last().find("number 0, all_gather"), 0u);
}

}  // namespace
}  // namespace weft::comm
