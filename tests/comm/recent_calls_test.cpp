#include "comm/recent_calls.h"

#include <gtest/gtest.h>

#include "support/run_ranks.h"

namespace weft::comm {
namespace {

using test::line;

TEST(RecentCalls, DifferWhereTheRanksParted) {
  RecentCalls mine, theirs;
  for (int i = 0; i < 20; ++i) {
    mine.add("all_reduce", line(2), 0);
    theirs.add("all_reduce", line(2), 0);
  }
  EXPECT_FALSE(RecentCalls::first_difference(mine.text(), theirs.text()));
  theirs.add("all_gather", line(2), 0);  // one ahead
  EXPECT_FALSE(RecentCalls::first_difference(mine.text(), theirs.text()));
  mine.add("the making of process groups", nullptr, 0);
  mine.add("all_gather", line(2), 0);
  const auto difference = RecentCalls::first_difference(mine.text(), theirs.text());
  ASSERT_TRUE(difference);
  EXPECT_EQ(difference->number, 20);
  EXPECT_EQ(difference->mine, "the making of process groups");
  EXPECT_EQ(difference->theirs, "all_gather over 'x' of " + line(2)->str());
  EXPECT_EQ(mine.count(), 22);
}

TEST(RecentCalls, KnowOnlyTheLastOnes) {
  RecentCalls mine, theirs;
  mine.add("all_gather", line(2), 0);
  theirs.add("all_to_all", line(2), 0);
  for (int i = 0; i < 40; ++i) theirs.add("all_reduce", line(2), 0);
  EXPECT_FALSE(RecentCalls::first_difference(mine.text(), theirs.text()));
  EXPECT_FALSE(RecentCalls::first_difference(mine.text(), ""));
}

}  // namespace
}  // namespace weft::comm
