#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>

#include "checkpoint/contents.h"
#include "checkpoint/file.h"
#include "checkpoint/writer.h"

namespace {

thread_local int interruptions = 0;  // of calls to come
thread_local bool heard_signals = false;
thread_local std::string awaited;          // part of a path: once a file of such a one is opened,
thread_local std::function<void()> first;  // this is done

}  // namespace

// In the place of the system's.
extern "C" int open(const char* path, int flags, ...) {
  static auto* const original = reinterpret_cast<decltype(&open)>(::dlsym(RTLD_NEXT, "open"));
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  if (!awaited.empty() && std::string(path).find(awaited) != std::string::npos) {
    awaited.clear();
    first();
  }
  return original(path, flags, mode);
}

extern "C" int fallocate(int file, int mode, off_t offset, off_t length) {
  static auto* const original = reinterpret_cast<decltype(&fallocate)>(::dlsym(RTLD_NEXT, "fallocate"));
  sigset_t blocked;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  heard_signals = ::sigismember(&blocked, SIGALRM) == 0;
  if (interruptions-- <= 0) return original(file, mode, offset, length);
  errno = EINTR;
  return -1;
}

namespace weft::checkpoint {
namespace {

StoredTensor tensor(const std::string& name, c10::ScalarType dtype, std::vector<int64_t> shape) {
  return {.name = name, .dtype = dtype, .shape = std::move(shape)};
}

TEST(CheckpointFiles, ANewOneFromFiveGigabytesOn) {
  Contents contents{.generation = "0123456789abcdef"};
  contents.groups = {{.name = "model",
                      .tensors = {tensor("a", at::kFloat, {3'000'000, 250}), tensor("b", at::kHalf, {500, 1'000'000}),
                                  tensor("c", at::kByte, {2'000'000'000}), tensor("d", at::kFloat, {2'000'000'000}),
                                  tensor("e", at::kByte, {1})}},
                     {.name = "optimizer", .tensors = {tensor("s", at::kFloat, {})}},
                     {.name = "extra"}};
  lay_out_files(contents);
  std::vector<std::string> names;
  for (const StoredFile& file : contents.files) names.push_back(file.name);
  EXPECT_THAT(names, ::testing::ElementsAre("model-0123456789abcdef-00001-of-00004.safetensors",
                                            "model-0123456789abcdef-00002-of-00004.safetensors",
                                            "model-0123456789abcdef-00003-of-00004.safetensors",
                                            "model-0123456789abcdef-00004-of-00004.safetensors",
                                            "optimizer-0123456789abcdef-00001-of-00001.safetensors"));
  std::vector<size_t> files;
  for (const StoredTensor& t : contents.groups[0].tensors) files.push_back(t.file);
  EXPECT_THAT(files, ::testing::ElementsAre(0, 0, 1, 2, 3));
  EXPECT_EQ(contents.files[0].bytes, static_cast<int64_t>(contents.files[0].header.size()) + 4'000'000'000);
}

TEST(CheckpointFiles, LargerElementsFirstAndAligned) {
  Contents contents{.generation = "0123456789abcdef"};
  contents.groups = {{.name = "model",
                      .tensors = {tensor("bytes", at::kByte, {3}), tensor("longs", at::kLong, {2}),
                                  tensor("halves", at::kHalf, {5})}}};
  lay_out_files(contents);
  const auto& tensors = contents.groups[0].tensors;
  EXPECT_LT(tensors[1].offset, tensors[2].offset);
  EXPECT_LT(tensors[2].offset, tensors[0].offset);
  EXPECT_EQ(tensors[1].offset % 8, 0);
  EXPECT_EQ(tensors[2].offset % 2, 0);
}

// A checkpoint of one tensor in a folder of its own.
class CheckpointFolder : public ::testing::Test {
 protected:
  CheckpointFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "weft-files-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~CheckpointFolder() override { std::filesystem::remove_all(folder_); }

  // By a program of its own. `meanwhile` is called when its files are written.
  void save(const std::string& generation, const std::function<void()>& meanwhile = [] {}) const {
    Contents contents{.generation = generation};
    contents.groups = {{.name = "model", .tensors = {tensor("t", at::kFloat, {3})}}};
    const auto pieces = [&](EachPiece each) {
      each(piece_of(0, 0, at::ones({3}), Box(at::IntArrayRef{3}), {0, 3}));
      meanwhile();
    };
    write(folder_, contents, pieces, 0, [](const std::string& mine) { return std::vector<std::string>{mine}; });
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) names.push_back(entry.path().filename());
    return names;
  }

  const std::string one_ = "0000000000000001", other_ = "0000000000000002";
  std::string folder_;
};

TEST_F(CheckpointFolder, TakesRoomAlsoWhereSignalsCome) {
  interruptions = 2;
  EXPECT_EQ(File::create(folder_ + "/file", 1000).size(), 1000);
  EXPECT_LT(interruptions, 0);
  EXPECT_FALSE(heard_signals);
  sigset_t blocked;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  EXPECT_FALSE(::sigismember(&blocked, SIGALRM)) << "afterwards";
}

TEST_F(CheckpointFolder, IsReadAnewWhereASaveEndsMeanwhile) {
  save(one_);
  awaited = "/model-" + one_;
  first = [&] { save(other_); };
  EXPECT_EQ(read_contents(folder_).generation, other_);
  EXPECT_EQ(awaited, "");
}

TEST_F(CheckpointFolder, IsSavedIntoByOneProgramAtATime) {
  save(one_, [&] {
    EXPECT_THAT([&] { save(other_); }, testing::ThrowsMessage<c10::Error>(testing::HasSubstr("another program")));
  });
  EXPECT_EQ(read_contents(folder_).generation, one_);
  save(other_);
  EXPECT_EQ(read_contents(folder_).generation, other_);
}

TEST_F(CheckpointFolder, KeepsWhatTheIndexNamesWhereASaveWasKilledBeforeItsManifestWasThere) {
  save(one_);
  const auto others_files = names();
  const std::string kept = folder_ + "/weft.json", first = read_text(kept, 1 << 20);
  save(other_, [&] {  // what is removed at the end
    for (const std::string& name : others_files)
      std::filesystem::copy_file(folder_ + "/" + name, folder_ + "/kept-" + name);
  });
  for (const std::string& name : others_files) {
    if (name.find(one_) != std::string::npos) std::filesystem::rename(folder_ + "/kept-" + name, folder_ + "/" + name);
  }
  std::ofstream(kept, std::ios::trunc) << first;
  EXPECT_ANY_THROW(save("0000000000000003", [] { throw std::runtime_error("killed, too"); }));
  EXPECT_EQ(read_contents(folder_).generation, one_);
  std::filesystem::remove(kept);
  EXPECT_NO_THROW(read_contents(folder_)) << "as Hugging Face's loaders read it";
}

TEST_F(CheckpointFolder, KeepsWhatItHeldWhereFilesOfASaveAreRemoved) {
  save(one_);
  const auto before = names();
  const auto remove = [&] { std::filesystem::remove(folder_ + "/model-" + other_ + "-00001-of-00001.safetensors"); };
  EXPECT_THAT([&] { save(other_, remove); }, testing::ThrowsMessage<c10::Error>(testing::HasSubstr("was removed")));
  EXPECT_EQ(read_contents(folder_).generation, one_);
  EXPECT_THAT(names(), testing::UnorderedElementsAreArray(before));
}

}  // namespace
}  // namespace weft::checkpoint
