#include "checkpoint/checkpoint.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <weft/checkpoint.h>
#include <weft/tensor.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "support/run_ranks.h"

namespace weft {
namespace {

class Checkpoint : public ::testing::Test {
 protected:
  Checkpoint() {
    std::string name = (std::filesystem::temp_directory_path() / "weft-checkpoint-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    folder_ = root_ + "/c";
  }
  ~Checkpoint() override { std::filesystem::remove_all(root_); }

  std::string root_, folder_;
};

at::Tensor value() { return at::arange(7 * 5, at::kFloat).view({7, 5}); }

TEST_F(Checkpoint, FromThreeRanksToTwoAndToNone) {
  test::run_ranks(3, [&](int) {
    const Mesh mesh = test::line(3);
    save(folder_,
         NamedTensors{{"rows", distribute_tensor(value(), TensorLayout::get(mesh, {{{0}}, {}}))},
                      {"columns", distribute_tensor(value() + 1, TensorLayout::get(mesh, {{}, {{0}}}))},
                      {"plain", value() + 2}},
         11);
  });
  test::run_ranks(2, [&](int) {
    const Mesh mesh = test::line(2);
    const at::Tensor zeros = at::zeros({7, 5});
    const at::Tensor rows = distribute_tensor(zeros, TensorLayout::get(mesh, {{}, {{0}}}));
    const at::Tensor columns = distribute_tensor(zeros, TensorLayout::replicated(mesh, 2));
    const at::Tensor plain = at::zeros({7, 5});
    EXPECT_EQ(load(folder_, NamedTensors{{"rows", rows}, {"columns", columns}, {"plain", plain}}), 11);
    EXPECT_TRUE(at::equal(full_tensor(rows), value()));
    EXPECT_TRUE(at::equal(full_tensor(columns), value() + 1));
    EXPECT_TRUE(at::equal(plain, value() + 2));
  });
  const at::Tensor rows = at::zeros({7, 5});
  load(folder_, NamedTensors{{"rows", rows}}, /*strict=*/false);
  EXPECT_TRUE(at::equal(rows, value()));
}

TEST_F(Checkpoint, InTheBackgroundOfRanks) {
  test::run_ranks(2, [&](int) {
    const at::Tensor t = distribute_tensor(value(), TensorLayout::get(test::line(2), {{{0}}, {}}));
    const PendingSave first = async_save(folder_, NamedTensors{{"t", t}});
    t.zero_();
    const PendingSave second = async_save(folder_ + "2", NamedTensors{{"t", t}});
    EXPECT_TRUE(first.done()) << "the second waits for the first";
    second.wait();
    load(folder_, NamedTensors{{"t", t}});
    EXPECT_TRUE(at::equal(full_tensor(t), value()));
  });
}

TEST_F(Checkpoint, ARelativePathIsMeantWhereTheCallIsMade) {
  const auto before = std::filesystem::current_path();
  std::filesystem::create_directories(root_ + "/later");
  std::filesystem::current_path(root_);
  // Large enough that the program is elsewhere when the files are opened.
  const PendingSave pending = async_save("c", NamedTensors{{"t", value()}, {"large", at::zeros({16 << 20})}}, 3);
  std::filesystem::current_path(root_ + "/later");
  EXPECT_NO_THROW(pending.wait());
  std::filesystem::current_path(before);
  EXPECT_EQ(load(folder_, NamedTensors{{"t", at::zeros({7, 5})}}, /*strict=*/false), 3);
}

TEST_F(Checkpoint, ModulesAndTheirRandomState) {
  torch::nn::Linear one(3, 4), other(3, 4);
  save(folder_, *one);
  load(folder_, *other);
  EXPECT_TRUE(at::equal(one->weight, other->weight));
  EXPECT_TRUE(at::equal(one->bias, other->bias));
  const at::Tensor next = at::rand({4});
  load_random_state(folder_);
  EXPECT_TRUE(at::equal(at::rand({4}), next));
}

TEST_F(Checkpoint, ConvertsToTheTypeOfWhatIsFilled) {
  save(folder_, NamedTensors{{"t", value()}});
  test::run_ranks(2, [&](int) {
    const Layout layout = TensorLayout::get(test::line(2), {{}, {{0}}});
    const at::Tensor half = distribute_tensor(at::zeros({7, 5}, at::kBFloat16), layout);
    load(folder_, NamedTensors{{"t", half}});
    EXPECT_TRUE(at::equal(full_tensor(half), value().to(at::kBFloat16)));
  });
  const auto errors =
      test::errors_of_ranks(2, [&](int) { load(folder_, NamedTensors{{"t", at::zeros({7, 5}, at::kLong)}}); });
  EXPECT_EQ(errors[0], errors[1]);
  EXPECT_THAT(errors[0], ::testing::HasSubstr("'t' is Float of shape (7, 5), not Long"));
}

TEST_F(Checkpoint, WhatWasFoundIsReadAlsoWhereALaterSaveHasRemovedIt) {
  save(folder_, NamedTensors{{"t", value()}}, 1);
  const checkpoint::Contents found = checkpoint::open(folder_);
  save(folder_, NamedTensors{{"t", value() + 1}}, 2);
  const at::Tensor t = at::zeros({7, 5});
  checkpoint::load(folder_, found, {{{"model", "t", t}}}, /*strict=*/true);
  EXPECT_EQ(found.step, 1);
  EXPECT_TRUE(at::equal(t, value()));
}

TEST_F(Checkpoint, LoadsWhileAnotherProgramSavesAgainAndAgain) {
  save(folder_, NamedTensors{{"t", at::zeros({7, 5})}}, 0);
  std::atomic<bool> over = false;
  std::thread other([&] {
    test::run_ranks(1, [&](int) {
      for (int64_t n = 1; !over; ++n) save(folder_, NamedTensors{{"t", at::full({7, 5}, static_cast<double>(n))}}, n);
    });
  });
  const auto errors = test::errors_of_ranks(2, [&](int) {
    for (int64_t step = 0; step < 100;) {
      const at::Tensor t = at::zeros({7, 5});
      step = load(folder_, NamedTensors{{"t", t}}).value();
      EXPECT_TRUE(t.eq(step).all().item<bool>());
    }
  });
  over = true;
  other.join();
  EXPECT_THAT(errors, ::testing::Each(""));
}

TEST_F(Checkpoint, ErrorsAreTheSameOnAllRanks) {
  const auto errors = test::errors_of_ranks(2, [&](int) { save(root_ + "/no/where", NamedTensors{{"t", value()}}); });
  EXPECT_EQ(errors[0], errors[1]);
  EXPECT_THAT(errors[0], ::testing::HasSubstr("on rank 0: cannot make the folder"));
  const auto different =
      test::errors_of_ranks(2, [&](int rank) { save(folder_, NamedTensors{{"t", value() + rank}}); });
  EXPECT_EQ(different[0], different[1]);
  EXPECT_THAT(different[0], ::testing::HasSubstr("must be the same on all ranks"));
}

// ---- what may be written in a safetensors file ----------------------------------------------------------------------

std::string file_of(const std::string& header, size_t bytes) {
  std::string text(8, '\0');
  for (size_t i = 0; i < 8; ++i) text[i] = static_cast<char>(header.size() >> (8 * i));
  return text + header + std::string(bytes, '\1');
}

class SafetensorsFile : public Checkpoint {
 protected:
  std::string error_for(const std::string& content) {
    std::filesystem::create_directory(folder_);
    std::ofstream(folder_ + "/model.safetensors", std::ios::binary | std::ios::trunc) << content;
    const at::Tensor a = at::zeros({2});
    try {
      load(folder_, NamedTensors{{"a", a}});
    } catch (const c10::Error& error) {
      EXPECT_TRUE(at::equal(a, at::zeros({2})));
      return error.what_without_backtrace();
    }
    return "";
  }
};

TEST_F(SafetensorsFile, OfHuggingFaceAreRead) {
  EXPECT_EQ(error_for(file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8)), "");
  EXPECT_EQ(error_for(file_of(
                R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   )", 8)),
            "");
}

TEST_F(SafetensorsFile, MalformedOnesAreNamed) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "has 0 bytes"},
      {std::string(8, '\xFF'), "a header of 18446744073709551615"},
      {file_of("", 0).substr(0, 7), "has 7 bytes"},
      {file_of("[]", 0), "must be an object"},
      {file_of("{", 0), ":1:"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7), "7 bytes of data"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9), "9 bytes of data"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4), "not what its type and shape take"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8), "not what its type and shape take"},
      {file_of(R"({"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", 8), "'F31' of 'a' is not known"},
      {file_of(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8), "must not be negative"},
      {file_of(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", 8), "not what"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2]}})", 8), "\"data_offsets\" is missing"},
      {file_of(
           R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
           12),
       "'b' begins at byte 4"},
      {file_of(
           R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[1],"data_offsets":[9,10]}})",
           10),
       "'b' begins at byte 9"},
      {file_of(
           R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
           16),
       "occurs twice"},
      {file_of("{\"\xFF\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8), ":1:"},
      {file_of(std::string(100000, '['), 0), "levels deep"},
  };
  for (const auto& [content, reason] : cases) EXPECT_THAT(error_for(content), ::testing::HasSubstr(reason)) << content;
}

}  // namespace
}  // namespace weft
