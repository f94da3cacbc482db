#include "comm/lockstep/timed_calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>

namespace weft::comm {
namespace {

using namespace std::chrono_literals;

TEST(TimedCalls, GiveTheValueOrTheError) {
  TimedCalls calls;
  EXPECT_EQ(calls.within(10s, "the store", [] { return 1; }), 1);
  EXPECT_THROW(calls.within(10s, "the store", []() -> int { throw std::invalid_argument("no"); }),
               std::invalid_argument);
  EXPECT_EQ(calls.within(10s, "the store", [] { return std::string("two"); }), "two");
}

TEST(TimedCalls, RunOnOneThreadThatIsNotTheCallers) {
  TimedCalls calls;
  const auto first = calls.within(10s, "the store", [] { return std::this_thread::get_id(); });
  EXPECT_NE(first, std::this_thread::get_id());
  EXPECT_EQ(calls.within(10s, "the store", [] { return std::this_thread::get_id(); }), first);
}

TEST(TimedCalls, LeaveBehindWhatDoesNotReturn) {
  const auto release = std::make_shared<std::promise<void>>();
  TimedCalls calls;
  std::string error;
  try {
    calls.within(20ms, "the store", [held = release->get_future().share()] {
      held.wait();
      return true;
    });
  } catch (const c10::Error& e) {
    error = e.what_without_backtrace();
  }
  EXPECT_THAT(error, testing::HasSubstr("the store does not answer"));
  EXPECT_EQ(calls.within(10s, "the store", [] { return 2; }), 2) << "another thread calls from then on";
  release->set_value();
}

}  // namespace
}  // namespace weft::comm
