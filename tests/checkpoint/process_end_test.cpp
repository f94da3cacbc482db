#include "checkpoint/process_end.h"

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weft::checkpoint {
namespace {

TEST(ProcessEnd, IsSeenOfThisMachineAlone) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string told = this_process();
    const bool all_told = ::write(ends[1], told.data(), told.size()) == static_cast<ssize_t>(told.size());
    ::pause();
    ::_exit(all_told ? 0 : 1);
  }
  char text[512];
  const ssize_t length = ::read(ends[0], text, sizeof text);
  ASSERT_GT(length, 0);
  const std::string process(text, static_cast<size_t>(length));
  EXPECT_FALSE(has_ended(process));
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  siginfo_t info;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(has_ended(process));  // though nobody has asked for its exit code yet
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(has_ended(process));
  EXPECT_FALSE(has_ended("elsewhere" + process));
  EXPECT_FALSE(has_ended(this_process()));
  EXPECT_TRUE(has_ended(this_process() + "0"));  // a later process of the same number
  for (const char* unknown : {"", "a", "a b c", "a 1 /"}) EXPECT_FALSE(has_ended(unknown));
}

}  // namespace
}  // namespace weft::checkpoint
