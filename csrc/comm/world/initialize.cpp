#include "comm/world/initialize.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <weft/distributed.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <tuple>
#include <vector>

#include "base/quote.h"
#include "comm/world/fork.h"
#include "comm/world/gloo_threads.h"
#include "comm/world/gloo_world.h"
#include "comm/world/last_work.h"
#include "comm/world/share_random_state.h"
#include "comm/world/timeouts.h"
#include "mesh/context.h"

namespace weft {
namespace comm {
namespace {

// A value and where it comes from: "num_processes", "WORLD_SIZE".
struct Setting {
  std::string text, name;
};
using MaybeSetting = std::optional<Setting>;

MaybeSetting variable(const Environment& environment, const char* name) {
  if (auto text = environment(name)) return Setting{*text, name};
  return std::nullopt;
}

MaybeSetting argument(std::optional<int64_t> value, const char* name) {
  if (value) return Setting{std::to_string(*value), name};
  return std::nullopt;
}

// The first that is set.
MaybeSetting first(std::initializer_list<MaybeSetting> settings) {
  for (const MaybeSetting& setting : settings) {
    if (setting) return setting;
  }
  return std::nullopt;
}

int parse_integer(const Setting& setting, int lowest, int highest) {
  int value = 0;
  const char* end = setting.text.data() + setting.text.size();
  const auto [stop, error] = std::from_chars(setting.text.data(), end, value);
  TORCH_CHECK_VALUE(error == std::errc() && stop == end && value >= lowest && value <= highest, "[W006] ", setting.name,
                    " is ", quote(setting.text), ", but must be a whole number from ", lowest,
                    highest == std::numeric_limits<int>::max() ? std::string(" on") : c10::str(" to ", highest));
  return value;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> out(1);
  for (char c : text) {
    if (c == ',') {
      out.emplace_back();
    } else if (c != ' ' || !out.back().empty()) {
      out.back() += c;
    }
  }
  for (std::string& item : out) item.erase(item.find_last_not_of(' ') + 1);
  return out;
}

// A name, or an address of IP version 4 or 6.
void check_host(const std::string& host, const std::string& name) {
  const bool possible = !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || std::strchr(".-_:%", c) != nullptr;
  });
  TORCH_CHECK_VALUE(possible, "[W006] ", name, " names the host ", quote(host),
                    ", but a host has letters, digits, '.', '-' and '_' only, or is an IPv6 address");
}

// Who serves the address; sets host and port.
void read_address(Rendezvous& rendezvous, const MaybeSetting& addresses, const Environment& environment) {
  if (addresses) {
    const std::vector<std::string> all = split(addresses->text);
    const std::string name = all.size() == 1 ? addresses->name : c10::str(addresses->name, " ", quote(addresses->text));
    for (size_t i = all.size(); i-- > 0;) {
      std::tie(rendezvous.host, rendezvous.port) = parse_address(all[i], name);
    }
    TORCH_CHECK_VALUE(all.size() == 1 || static_cast<int>(all.size()) == rendezvous.world_size, "[W007] ",
                      addresses->name, " ", quote(addresses->text), " lists ", all.size(), " addresses for ",
                      rendezvous.world_size, " processes; give one per process, or that of process 0 only");
    return;
  }
  const MaybeSetting host = variable(environment, "MASTER_ADDR"), port = variable(environment, "MASTER_PORT");
  TORCH_CHECK_VALUE(host && port, "[W007] a world of ", rendezvous.world_size,
                    " processes needs an address where they meet, but ",
                    host   ? "MASTER_PORT is not set while MASTER_ADDR is " + quote(host->text)
                    : port ? "MASTER_ADDR is not set while MASTER_PORT is " + quote(port->text)
                           : std::string("neither job_addresses, nor KERAS_DISTRIBUTION_JOB_ADDRESSES, nor MASTER_ADDR "
                                         "and MASTER_PORT are set"));
  TORCH_CHECK_VALUE(!host->text.empty(),
                    "[W006] MASTER_ADDR is empty; it must be the address of the process of rank 0");
  check_host(host->text, "MASTER_ADDR");
  rendezvous.host = host->text;
  rendezvous.port = parse_integer(*port, 1, 65535);
  rendezvous.served = environment("TORCHELASTIC_USE_AGENT_STORE") == std::optional<std::string>("True");
  if (rendezvous.served) {
    rendezvous.prefix = "/worker/attempt_" + environment("TORCHELASTIC_RESTART_COUNT").value_or("0");
  }
}

}  // namespace

std::pair<std::string, int> parse_address(const std::string& text, const std::string& name) {
  const size_t colon = text.rfind(':');
  std::string host = colon == std::string::npos ? "" : text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  TORCH_CHECK_VALUE(!host.empty() && (bracketed || host.find(':') == std::string::npos), "[W006] ", name, " has ",
                    quote(text), ", which is no address; write host:port, such as 10.0.0.1:1234 or [::1]:1234");
  check_host(host, name);
  return {host, parse_integer({text.substr(colon + 1), c10::str("the port of ", quote(text), " in ", name)}, 1, 65535)};
}

std::optional<Rendezvous> rendezvous_from(const std::optional<std::string>& job_addresses,
                                          std::optional<int64_t> num_processes, std::optional<int64_t> process_id,
                                          const Environment& environment) {
  const MaybeSetting addresses = first({job_addresses ? MaybeSetting({*job_addresses, "job_addresses"}) : std::nullopt,
                                        variable(environment, "KERAS_DISTRIBUTION_JOB_ADDRESSES")});
  const MaybeSetting size =
      first({argument(num_processes, "num_processes"), variable(environment, "KERAS_DISTRIBUTION_NUM_PROCESSES"),
             variable(environment, "WORLD_SIZE")});
  const MaybeSetting rank =
      first({argument(process_id, "process_id"), variable(environment, "KERAS_DISTRIBUTION_PROCESS_ID"),
             variable(environment, "RANK")});
  if (!size) {
    const MaybeSetting lone =
        first({addresses, rank, variable(environment, "MASTER_ADDR"), variable(environment, "MASTER_PORT")});
    TORCH_CHECK_VALUE(!lone, "[W007] ", lone->name, " is set (", quote(lone->text),
                      "), but not the number of processes; set num_processes, KERAS_DISTRIBUTION_NUM_PROCESSES or "
                      "WORLD_SIZE as well, or none of them");
    return std::nullopt;
  }
  Rendezvous rendezvous;
  rendezvous.world_size = parse_integer(*size, 1, std::numeric_limits<int>::max());
  TORCH_CHECK_VALUE(rank || rendezvous.world_size == 1, "[W007] ", size->name, " is ", size->text,
                    ", but not set is which process this is; set process_id, KERAS_DISTRIBUTION_PROCESS_ID or RANK");
  if (rank) {
    rendezvous.rank = parse_integer(*rank, 0, std::numeric_limits<int>::max());
    TORCH_CHECK_VALUE(rendezvous.rank < rendezvous.world_size, "[W007] ", rank->name, " is ", rendezvous.rank,
                      ", but with ", size->name, " ", rendezvous.world_size, " the last one is ",
                      rendezvous.world_size - 1);
  }
  if (rendezvous.world_size > 1 || addresses) read_address(rendezvous, addresses, environment);
  return rendezvous;
}

c10::intrusive_ptr<c10d::Store> open_store(const Rendezvous& rendezvous) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(rendezvous.port);
  options.isServer = rendezvous.rank == 0 && !rendezvous.served;
  options.numWorkers = static_cast<size_t>(rendezvous.world_size);
  options.multiTenant = true;  // a store that this process serves there already will do
  auto store = c10::make_intrusive<c10d::TCPStore>(rendezvous.host, options);
  if (rendezvous.prefix.empty()) return store;
  return c10::make_intrusive<c10d::PrefixStore>(rendezvous.prefix, std::move(store));
}

}  // namespace comm

namespace {

// How long the world's backends wait.
std::chrono::milliseconds own_timeout(c10d::ProcessGroup& world) {
  std::chrono::milliseconds longest{0};
  for (const c10::Device& device : world.getDeviceTypes()) {
    try {
      longest = std::max(longest, world.getBackend(device.type())->getBackendOptions()->timeout);
    } catch (const c10::Error&) {  // it has no options
      longest = std::max(longest, comm::kDefaultTimeout);
    }
  }
  return longest;
}

void join(Group world) {
  context().set_world(std::move(world));
  comm::let_gloo_wait_its_turn();
  comm::watch_forks();
  comm::finish_last_work_at_exit();
}

}  // namespace

void initialize(std::optional<std::string> job_addresses, std::optional<int64_t> num_processes,
                std::optional<int64_t> process_id, std::optional<std::chrono::milliseconds> timeout,
                std::optional<std::chrono::milliseconds> first_timeout) {
  const auto rendezvous = comm::rendezvous_from(
      job_addresses, num_processes, process_id, [](const char* name) -> std::optional<std::string> {
        const char* text = std::getenv(name);
        return text == nullptr ? std::nullopt : std::optional<std::string>(text);
      });
  const int64_t size = rendezvous ? rendezvous->world_size : 1, rank = rendezvous ? rendezvous->rank : 0;
  if (context().world()) {
    TORCH_CHECK_VALUE(context().world_size() == size && context().rank() == rank, "[W008] already initialized as rank ",
                      context().rank(), " of ", context().world_size(), "; now asked to be rank ", rank, " of ", size);
    set_timeouts(timeout, first_timeout);
    return;
  }
  set_timeouts(timeout, first_timeout);
  if (size == 1) return;
  join(comm::make_gloo_world(comm::open_store(*rendezvous), rendezvous->rank, rendezvous->world_size,
                             comm::timeouts().longest(comm::kDefaultTimeout)));
  comm::share_random_state();
}

void set_world(const std::string& group_name) { join(c10d::resolve_process_group(group_name)); }

void set_timeouts(std::optional<std::chrono::milliseconds> timeout,
                  std::optional<std::chrono::milliseconds> first_timeout) {
  comm::timeouts().set(timeout, first_timeout);
  const Group& world = context().world();
  if (world && (timeout || first_timeout)) world->setTimeout(comm::timeouts().longest(own_timeout(*world)));
}

int64_t rank() { return context().rank(); }
int64_t world_size() { return context().world_size(); }

}  // namespace weft
