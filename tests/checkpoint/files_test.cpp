#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/contents.h"
#include "checkpoint/writer.h"

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

}  // namespace
}  // namespace weft::checkpoint
