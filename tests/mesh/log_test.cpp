#include "mesh/log.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "mesh/context.h"

namespace weft {
namespace {

struct Line {
  int level;
  int64_t rank;
  std::string text;
};
std::mutex mutex;
std::vector<Line> lines;
void collect(int level, int64_t rank, const char* message) {
  std::lock_guard<std::mutex> lock(mutex);
  lines.push_back({level, rank, message});
}

// Starts with the given environment and no messages; leaves no trace.
class LogTest : public testing::Test {
 protected:
  void SetUp() override {
    lines.clear();
    set_log_sink(collect);
    environment(nullptr, nullptr);
  }
  void TearDown() override {
    set_log_sink(nullptr);
    environment(nullptr, nullptr);
  }
  static void environment(const char* level, const char* keras) {
    set("WEFT_LOG", level);
    set("KERAS_DISTRIBUTION_DEBUG", keras);
    reset_log_level();
  }
  static void set(const char* name, const char* value) {
    if (value == nullptr) {
      ::unsetenv(name);
    } else {
      ::setenv(name, value, 1);
    }
  }
};

// Counts how often it is formatted.
struct Counted {
  int* count;
};
std::ostream& operator<<(std::ostream& out, const Counted& c) {
  ++*c.count;
  return out << "counted";
}

TEST_F(LogTest, WarningsAndErrorsByDefault) {
  log(LogLevel::debug, "d");
  log(LogLevel::info, "i");
  log(LogLevel::warning, "w", 1);
  log(LogLevel::error, "e");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].text, "w1");
  EXPECT_EQ(lines[0].level, 1);
  EXPECT_EQ(lines[1].text, "e");
}

TEST_F(LogTest, LevelsFromTheEnvironment) {
  const std::vector<std::pair<const char*, size_t>> cases = {
      {"error", 1}, {"warning", 2}, {"INFO", 3}, {"debug", 4}, {"", 2}};
  for (const auto& [value, count] : cases) {
    lines.clear();
    environment(value, nullptr);
    for (LogLevel level : {LogLevel::error, LogLevel::warning, LogLevel::info, LogLevel::debug}) log(level, "x");
    EXPECT_EQ(lines.size(), count) << value;
  }
}

TEST_F(LogTest, KerasVariableSwitchesToDebug) {
  environment("error", "1");
  EXPECT_TRUE(log_on(LogLevel::debug));
  environment(nullptr, "true");
  EXPECT_TRUE(log_on(LogLevel::debug));
  environment("info", "0");
  EXPECT_FALSE(log_on(LogLevel::debug));
  EXPECT_TRUE(log_on(LogLevel::info));
  EXPECT_TRUE(lines.empty());
}

TEST_F(LogTest, UnknownValuesWarnOnce) {
  environment("verbose", nullptr);
  log(LogLevel::info, "hidden");
  log(LogLevel::warning, "shown");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].text, "[W009] WEFT_LOG=verbose is not a level; known: error, warning, info, debug. Using warning");
  EXPECT_EQ(lines[1].text, "shown");
  lines.clear();
  environment(nullptr, "maybe");
  log(LogLevel::warning, "shown");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[0].text.find("KERAS_DISTRIBUTION_DEBUG=maybe"), std::string::npos);
}

TEST_F(LogTest, BuildsNothingWhenOff) {
  int count = 0;
  log(LogLevel::debug, Counted{&count});
  EXPECT_EQ(count, 0);
  log(LogLevel::error, Counted{&count});
  EXPECT_EQ(count, 1);
  set_log_level(LogLevel::error);
  warn_once("off", Counted{&count});
  EXPECT_EQ(count, 1);
}

TEST_F(LogTest, WarnsOncePerKeyAndContext) {
  Context first(nullptr), second(nullptr);
  int count = 0;
  for (Context* context : {&first, &second, &first}) {
    ContextGuard guard(context);
    warn_once("key", Counted{&count});
    warn_once("other key", "text");
  }
  EXPECT_EQ(lines.size(), 4u);
  EXPECT_EQ(count, 2);
}

TEST_F(LogTest, WarnsOnceAcrossThreads) {
  Context shared(nullptr);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      ContextGuard guard(&shared);
      for (int i = 0; i < 100; ++i) warn_once("key " + std::to_string(i), i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(lines.size(), 100u);
}

TEST_F(LogTest, RankOfTheContext) {
  Context context(c10::make_intrusive<c10d::ProcessGroup>(3, 4));
  ContextGuard guard(&context);
  log(LogLevel::warning, "x");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].rank, 3);
  set_log_sink(nullptr);
  testing::internal::CaptureStderr();
  log(LogLevel::warning, "one\ntwo\n");
  log(LogLevel::error, "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "[weft rank 3] warning: one\n[weft rank 3] warning: two\n[weft rank 3] error: \n");
}

TEST_F(LogTest, SinkForOtherLanguages) {
  weft_set_log_sink(nullptr);
  testing::internal::CaptureStderr();
  log(LogLevel::warning, "to stderr");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("] warning: to stderr\n"), std::string::npos);
  weft_set_log_sink(collect);
  log(LogLevel::warning, "to the sink");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].text, "to the sink");
}

}  // namespace
}  // namespace weft
