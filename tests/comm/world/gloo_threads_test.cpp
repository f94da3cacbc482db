#include "comm/world/gloo_threads.h"

#include <gtest/gtest.h>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/version.h>

#ifdef __linux__
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sched.h>
#include <string>

#include "comm/world/gloo_world.h"

namespace weft::comm {
namespace {

using Policies = std::map<pid_t, int>;

Policies policies(const std::string& thread) {
  Policies found;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    const auto id = static_cast<pid_t>(std::atol(task.path().filename().c_str()));
    if (name == thread) found[id] = sched_getscheduler(id);
  }
  return found;
}

TEST(GlooThreads, WaitTheirTurn) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  const Group world = make_gloo_world(store, 0, 1, std::chrono::seconds(20));
  const Policies workers = policies("pt_gloo_runloop");
  let_gloo_wait_its_turn();
  const Policies loops = policies("gloo_tcp_loop");
  if (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR < 15) {
    EXPECT_TRUE(loops.empty());  // they have no name yet
  } else {
    EXPECT_FALSE(loops.empty());
  }
  for (const auto& [id, policy] : loops) EXPECT_EQ(policy, SCHED_BATCH) << id;
  EXPECT_EQ(policies("pt_gloo_runloop"), workers);
  EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
}

}  // namespace
}  // namespace weft::comm
#endif
