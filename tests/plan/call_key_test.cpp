// Values of calls in plans' keys: what is not the same is told apart.
#include "plan/call_key.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <vector>

namespace weft {
namespace {

std::vector<uint64_t> words(std::initializer_list<c10::IValue> values) {
  PlanKey key;
  for (const c10::IValue& v : values) push_value(key, v);
  return key.words().vec();
}

TEST(CallKey, TellsNumbersFromNoneAndTruth) {
  for (const c10::IValue& other : {c10::IValue(), c10::IValue(true), c10::IValue(false)}) {
    for (int64_t number = 0xffe0; number < 0x10010; ++number) EXPECT_NE(words({other}), words({number})) << number;
    for (const int64_t number : {int64_t{-1}, std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()})
      EXPECT_NE(words({other}), words({number})) << number;
  }
  EXPECT_NE(words({-1}), words({std::numeric_limits<int64_t>::max()}));
}

// x[a:b] with either left out.
TEST(CallKey, TellsWhichOfSeveralIsMissing) {
  const c10::IValue none;
  std::set<std::vector<uint64_t>> found;
  const std::vector<c10::IValue> values{none, 0, 1, 0xfff0, 0xfff1, 0xfff2, int64_t{1} << 40, int64_t{1} << 41, -1};
  for (const auto& a : values) {
    for (const auto& b : values) found.insert(words({a, b}));
  }
  EXPECT_EQ(found.size(), values.size() * values.size());
}

TEST(CallKey, TellsListsAndTexts) {
  using Ints = std::vector<int64_t>;
  EXPECT_NE(words({Ints{2, 3}}), words({Ints{2}, 3}));
  EXPECT_NE(words({Ints{0xfff1}}), words({Ints{0xfff2}}));
  EXPECT_NE(words({2.0}), words({2}));
  EXPECT_NE(words({"3"}), words({3}));
  EXPECT_NE(words({c10::List<bool>({true, false})}), words({c10::List<bool>({false, true})}));
}

}  // namespace
}  // namespace weft
