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
#include <thread>

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
  const bool named = TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 15;
  // A thread gives itself its name once it runs.
  for (int k = 0; named && k < 1000 && policies("gloo_tcp_loop").empty(); ++k) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  let_gloo_wait_its_turn();
  const Policies loops = policies("gloo_tcp_loop");
  EXPECT_EQ(loops.empty(), !named);
  for (const auto& [id, policy] : loops) EXPECT_EQ(policy, SCHED_BATCH) << id;
  for (const auto& [id, policy] : policies("pt_gloo_runloop")) EXPECT_EQ(policy, SCHED_OTHER) << id;
  EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
}

}  // namespace
}  // namespace weft::comm
#endif
