#include "checkpoint/collective_buffer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <weft/checkpoint.h>
#include <weft/tensor.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <sys/resource.h>

#include "support/run_ranks.h"

namespace weft::checkpoint {
namespace {

TEST(CollectiveBuffer, EachRankTakesWhatAllHavePut) {
  test::run_ranks(3, [](int rank) {
    const auto buffer = CollectiveBuffer::make(exchange_by_collectives());
    ASSERT_NE(buffer, nullptr);
    for (int turn = 0; turn < 5; ++turn) {
      const auto put = [&](char* memory) { memory[CollectiveBuffer::kBytes - 1 - rank] = static_cast<char>(turn); };
      const auto take = [&](const char* memory) {
        EXPECT_EQ(std::string(memory + CollectiveBuffer::kBytes - 3, 3), std::string(3, static_cast<char>(turn)));
      };
      buffer->round(put, take);
    }
  });
}

TEST(CollectiveBuffer, NoneWhereThereIsNoRoom) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1 << 20, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  test::run_ranks(2, [](int) { EXPECT_EQ(CollectiveBuffer::make(exchange_by_collectives()), nullptr); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
}

// Columns of several rounds' size, of which ranks hold replicas.
TEST(CollectiveBuffer, SavesColumns) {
  std::string folder = (std::filesystem::temp_directory_path() / "weft-columns-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const at::Tensor full = at::arange(int64_t{8195} * 1031, at::kFloat).view({8195, 1031});
  test::run_ranks(4, [&](int) {
    const Mesh mesh = DeviceMesh::get({2, 2}, {"a", "b"});
    const at::Tensor columns = distribute_tensor(full, TensorLayout::get(mesh, {{}, {{1}}}));
    for (int i = 0; i < 2; ++i) save(folder + "/c", NamedTensors{{"columns", columns}});
  });
  const at::Tensor loaded = at::zeros_like(full);
  load(folder + "/c", NamedTensors{{"columns", loaded}});
  EXPECT_TRUE(at::equal(loaded, full));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace weft::checkpoint
