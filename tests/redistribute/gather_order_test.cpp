#include "redistribute/gather_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft {
namespace {

using testing::ElementsAre;

constexpr auto kNone = GatherOrder::kNone;

// Comes to these in turn; which of them begin a pass.
std::vector<bool> note_all(GatherOrder& order, const std::vector<int32_t>& numbers, bool backward = false) {
  std::vector<bool> begins;
  for (int32_t number : numbers) begins.push_back(order.note(number, backward));
  return begins;
}

// What is foretold after the first request of a pass, as far as it goes.
std::vector<int32_t> foretold(const GatherOrder& order, int32_t first) {
  std::vector<int32_t> found;
  for (int32_t before = kNone, now = first; found.size() < 20;) {
    const int32_t next = order.next(before, now);
    if (next == kNone) break;
    found.push_back(next);
    before = now;
    now = next;
  }
  return found;
}

TEST(GatherOrder, ForetellsForwardAndBackward) {
  GatherOrder order;
  EXPECT_THAT(foretold(order, 0), ElementsAre());
  EXPECT_THAT(note_all(order, {0, 1, 2}), ElementsAre(true, false, false));
  EXPECT_THAT(note_all(order, {3, 4}, true), ElementsAre(false, false));
  EXPECT_THAT(foretold(order, 0), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(note_all(order, {0, 1}), ElementsAre(true, false)) << "after backward";
  EXPECT_THAT(foretold(order, 0), ElementsAre(1, 2, 3, 4)) << "not on to the next pass";
}

TEST(GatherOrder, EndsAPassWhereForwardComesBack) {
  GatherOrder order;
  EXPECT_THAT(note_all(order, {0, 1, 2, 0, 1, 2}), ElementsAre(true, false, false, true, false, false));
  EXPECT_THAT(foretold(order, 0), ElementsAre(1, 2));
}

TEST(GatherOrder, TellsUsesApartByWhatCameBefore) {
  GatherOrder order;
  note_all(order, {0, 1});
  note_all(order, {5, 6, 5, 7}, true);  // recomputed, say
  EXPECT_THAT(foretold(order, 0), ElementsAre(1, 5, 6, 5, 7));
}

TEST(GatherOrder, LearnsAnew) {
  GatherOrder order;
  note_all(order, {0, 1, 2, 3});
  note_all(order, {0, 1, 3});
  EXPECT_EQ(order.next(0, 1), 3);
  note_all(order, {0, 1});
  note_all(order, {0, 2});
  EXPECT_EQ(order.next(0, 1), kNone) << "a pass ended there";
  EXPECT_EQ(order.next(kNone, 0), 2);
}

}  // namespace
}  // namespace weft
