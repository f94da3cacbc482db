#pragma once
// How the processes of a job find each other: from arguments and environment to a store. weft/distributed.h has the
// public side.
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace weft::comm {

/// Where the processes of a job meet.
struct Rendezvous {
  std::string host;
  int port = 0;
  int rank = 0;
  int world_size = 1;
  bool served = false;  // torchrun listens at the address already; else rank 0 does
  std::string prefix;   // of this attempt's keys in torchrun's store
};

using Environment = std::function<std::optional<std::string>(const char* name)>;

/// What `initialize` is to do, from its arguments, else Keras's variables, else torchrun's; nothing where none is set.
/// Raises ValueError, naming what is wrong and where it was set, for values that are half there or make no sense. Opens
/// no socket.
std::optional<Rendezvous> rendezvous_from(const std::optional<std::string>& job_addresses,
                                          std::optional<int64_t> num_processes, std::optional<int64_t> process_id,
                                          const Environment& environment);

/// "host:port" or "[v6 address]:port". `name` says in the error what it is.
std::pair<std::string, int> parse_address(const std::string& text, const std::string& name);

c10::intrusive_ptr<c10d::Store> open_store(const Rendezvous& rendezvous);

}  // namespace weft::comm
