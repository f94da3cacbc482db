#include "checkpoint/process_end.h"

#include <c10/util/StringUtil.h>

#include <fstream>
#include <iterator>
#include <limits.h>
#include <sstream>
#include <unistd.h>
#include <vector>

namespace weft::checkpoint {
namespace {

// What numbers of processes are told apart by: a boot of a machine, and a container of it. Empty: not known.
std::string number_space() {
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id") >> std::ws, boot);
  char name[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/ns/pid", name, sizeof name);
  return boot.empty() || length <= 0 ? std::string() : boot + '/' + std::string(name, static_cast<size_t>(length));
}

struct State {
  char letter = 'X';      // as in proc(5); X: not there
  std::string beginning;  // tells it from a later process of the same number
};

State state_of(const std::string& pid) {
  std::string line;
  std::getline(std::ifstream("/proc/" + pid + "/stat"), line);
  // The name, in brackets, may hold anything.
  std::istringstream rest(line.substr(line.rfind(')') + 1));
  const std::vector<std::string> fields{std::istream_iterator<std::string>(rest), {}};
  constexpr size_t kBeginning = 19;
  return fields.size() > kBeginning ? State{fields[0][0], fields[kBeginning]} : State{};
}

}  // namespace

std::string this_process() {
  const std::string space = number_space(), pid = std::to_string(::getpid());
  const std::string beginning = state_of(pid).beginning;
  return space.empty() || beginning.empty() ? std::string() : c10::str(space, ' ', pid, ' ', beginning);
}

bool has_ended(const std::string& process) {
  std::istringstream words(process);
  std::string space, pid, beginning;
  if (!(words >> space >> pid >> beginning) || space != number_space()) return false;
  if (pid.find_first_not_of("0123456789") != std::string::npos) return false;
  const State state = state_of(pid);
  return state.letter == 'X' || state.letter == 'Z' || state.beginning != beginning;
}

}  // namespace weft::checkpoint
