#include "base/write_file.h"

#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

namespace weft {
namespace {

class WriteFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "weft_write_XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string at(const std::string& name) const { return folder_ + "/" + name; }
  static std::string read(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  static std::string error_of(const std::string& path) {
    try {
      write_file(path, "new");
    } catch (const c10::ValueError& error) {
      return error.what_without_backtrace();
    }
    return "";
  }
  int64_t entries() const {
    return std::distance(std::filesystem::directory_iterator(folder_), std::filesystem::directory_iterator());
  }

  std::string folder_;
};

TEST_F(WriteFile, ReplacesWhatIsThere) {
  for (const std::string content : {std::string("first, and long"), std::string("a\0b", 3), std::string()}) {
    write_file(at("a"), content);
    EXPECT_EQ(read(at("a")), content);
  }
  EXPECT_EQ(entries(), 1);
}

TEST_F(WriteFile, ALinkGoesOnNamingIt) {
  write_file(at("a"), "old");
  ASSERT_EQ(::symlink("a", at("b").c_str()), 0);
  write_file(at("b"), "new");
  EXPECT_EQ(read(at("a")), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(at("b")));
}

TEST_F(WriteFile, WhatIsNoFileIsWrittenItself) {
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  const int reader = ::open(at("pipe").c_str(), O_RDONLY | O_NONBLOCK);
  write_file(at("pipe"), "new");
  char found[8] = {};
  EXPECT_EQ(::read(reader, found, sizeof found), 3);
  ::close(reader);
  EXPECT_STREQ(found, "new");
  EXPECT_TRUE(std::filesystem::is_fifo(at("pipe")));
}

TEST_F(WriteFile, AnErrorNamesThePathAndLeavesNothing) {
  EXPECT_EQ(error_of(at("no/such")), "[W110] cannot write '" + at("no/such") + "': No such file or directory");
  EXPECT_EQ(error_of(folder_), "[W110] cannot write '" + folder_ + "': Is a directory");
  EXPECT_EQ(error_of("/dev/full"), "[W110] cannot write '/dev/full': No space left on device");
  EXPECT_THAT(error_of(std::string("a\0b", 3)), testing::StartsWith("[W110] cannot write 'a\\x00b'"));
  EXPECT_THAT(error_of(""), testing::StartsWith("[W110] cannot write ''"));
  EXPECT_EQ(entries(), 0);
}

}  // namespace
}  // namespace weft
