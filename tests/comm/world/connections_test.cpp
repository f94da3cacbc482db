#include "comm/world/connections.h"

#include <gtest/gtest.h>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include <chrono>
#include <thread>
#include <vector>

#include "comm/lockstep/failure.h"
#include "comm/names.h"
#include "comm/world/gloo_world.h"
#include "mesh/context.h"

namespace weft::comm {
namespace {

// Gloo's groups of all ranks, which are threads while they are made.
std::vector<Group> gloo_worlds(int ranks) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<Group> worlds(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] { worlds[rank] = make_gloo_world(store, rank, ranks); });
  }
  for (std::thread& thread : threads) thread.join();
  return worlds;
}

c10d::Backend& backend(const Group& world) { return *world->getDefaultBackend(); }

// As soon as there are that many; the kernel tells of an end in its own time.
std::vector<int64_t> ended(const Group& world, size_t many) {
  for (int i = 0; i < 500 && connections_of(backend(world)).ended.size() < many; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return connections_of(backend(world)).ended;
}

TEST(Connections, EndWithTheirRanks) {
  std::vector<Group> worlds = gloo_worlds(3);
  EXPECT_EQ(connections_of(backend(worlds[0])).all, 2);
  EXPECT_TRUE(connections_of(backend(worlds[0])).ended.empty());
  worlds[2].reset();
  EXPECT_EQ(ended(worlds[0], 1), std::vector<int64_t>{2});
  EXPECT_EQ(ended(worlds[1], 1), std::vector<int64_t>{2});
  worlds[1].reset();
  EXPECT_EQ(ended(worlds[0], 2), (std::vector<int64_t>{1, 2}));
}

// Gloo never says that it is over.
class Untold : public c10d::Work {
 public:
  bool isCompleted() override { return false; }
  bool wait(std::chrono::milliseconds timeout) override {
    std::this_thread::sleep_for(timeout);
    TORCH_CHECK(false, "timed out");
  }
};

TEST(Connections, ACollectiveThatAllOthersHaveLeftIsLost) {
  std::vector<Group> worlds = gloo_worlds(2);
  Context context(worlds[0]);
  const ContextGuard guard(&context);
  count_collective({"a test", nullptr});
  worlds[1].reset();
  const auto begun = std::chrono::steady_clock::now();
  const std::string error = error_of<c10::Error>([&] {
    const auto work = c10::make_intrusive<Untold>();
    wait_for(*work, &backend(worlds[0]));
  });
  EXPECT_THAT(error, HasSubstr("the connection to rank 1 has ended"));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(20));
}

}  // namespace
}  // namespace weft::comm
