#include "comm/world/timeouts.h"

#include <c10/util/Exception.h>
#include <weft/distributed.h>

#include <limits>

#include "comm/names.h"

namespace weft::comm {
namespace {

using namespace std::chrono_literals;

TEST(Timeouts, KeepWhatIsNotGiven) {
  Timeouts t;
  EXPECT_EQ(t.steady(), std::nullopt);
  EXPECT_EQ(t.first(), std::nullopt);
  EXPECT_EQ(t.longest(2h), 2h);
  t.set(5s, std::nullopt);
  EXPECT_EQ(t.steady(), 5s);
  EXPECT_EQ(t.first(), std::nullopt) << "the backend's own holds";
  EXPECT_EQ(t.longest(2h), 2h);
  EXPECT_EQ(t.longest(1s), 5s);
  t.set(std::nullopt, 1ms);
  EXPECT_EQ(t.steady(), 5s);
  EXPECT_EQ(t.first(), 1ms);
  EXPECT_EQ(t.longest(2h), 5s);
  t.set(Timeouts::kLongest, Timeouts::kLongest);
  EXPECT_EQ(t.longest(1s), 24 * 24h);
}

TEST(Timeouts, RefuseWhatIsNoTime) {
  Timeouts t;
  for (const milliseconds bad : {0ms, -1ms, Timeouts::kLongest + 1ms, milliseconds::max(), milliseconds::min()}) {
    EXPECT_THAT(error_of([&] { t.set(bad, 1s); }), HasSubstr("initialize: timeout is "));
    EXPECT_THAT(error_of([&] { t.set(1s, bad); }), HasSubstr("initialize: first_timeout is "));
  }
  EXPECT_EQ(t.steady(), std::nullopt) << "none is set where one is wrong";
  EXPECT_EQ(t.first(), std::nullopt);
}

TEST(Timeouts, FromSeconds) {
  EXPECT_EQ(timeout_from(std::nullopt, "timeout"), std::nullopt);
  EXPECT_EQ(timeout_from(1.5, "timeout"), 1500ms);
  EXPECT_EQ(timeout_from(0.001, "timeout"), 1ms);
  for (const double bad :
       {0.0, -1.0, 0.0001, 1e18, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THAT(error_of([&] { timeout_from(bad, "first_timeout"); }), HasSubstr("initialize: first_timeout is "))
        << bad;
  }
}

TEST(Timeouts, AreCheckedBeforeAnything) {
  EXPECT_THAT(error_of([] { initialize(std::nullopt, std::nullopt, std::nullopt, 0ms); }),
              HasSubstr("0.001 to 2073600"));
  EXPECT_THAT(error_of([] { set_timeouts(std::nullopt, -1s); }), HasSubstr("first_timeout is -1 seconds"));
}

}  // namespace
}  // namespace weft::comm
