#include "comm/world/gloo_threads.h"

#ifdef __linux__
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sched.h>
#include <string>
#include <system_error>
#endif

namespace weft::comm {

#ifdef __linux__
void let_gloo_wait_its_turn() {
  std::error_code none;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", none)) {
    std::string name;
    if (!std::getline(std::ifstream(task.path() / "comm"), name) || name != "gloo_tcp_loop") continue;
    const auto thread = static_cast<pid_t>(std::atol(task.path().filename().c_str()));
    const sched_param usual{};
    if (sched_getscheduler(thread) == SCHED_OTHER) sched_setscheduler(thread, SCHED_BATCH, &usual);
  }
}
#else
void let_gloo_wait_its_turn() {}
#endif

}  // namespace weft::comm
