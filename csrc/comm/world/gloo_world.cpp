#include "comm/world/gloo_world.h"

#include <c10/util/Exception.h>

#include <tuple>

#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO  // without it the header below is empty
#endif
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "comm/world/initialize.h"

namespace weft::comm {

Group make_gloo_world(const c10::intrusive_ptr<c10d::Store>& store, int rank, int world_size,
                      std::chrono::milliseconds timeout) {
  TORCH_CHECK_VALUE(world_size >= 1 && rank >= 0 && rank < world_size, "[W006] rank ", rank, " of a world of ",
                    world_size, " ranks");
  const auto mine = c10::make_intrusive<c10d::PrefixStore>("weft", store);
  auto options = c10d::ProcessGroupGloo::Options::create_default(timeout);
  options->group_name = "weft";
  for (int r = 0; r < world_size; ++r) options->global_ranks_in_group.push_back(r);
  auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(mine, rank, world_size, options);
  auto world = c10::make_intrusive<c10d::ProcessGroup>(mine, rank, world_size);
  const auto type = c10d::ProcessGroup::BackendType::GLOO;
  world->setBackend(c10::DeviceType::CPU, type, gloo);
  world->setBackend(c10::DeviceType::CUDA, type, gloo);  // by way of the host
  world->setDefaultBackend(type);
  world->setGroupName("weft");
  world->setGroupDesc("weft's world");
  return world;
}

Group make_gloo_world(const std::string& where, int rank, int world_size, std::chrono::milliseconds timeout) {
  constexpr const char* kFile = "file://";
  const bool is_file = where.rfind(kFile, 0) == 0;
  if (is_file || where.find('/') != std::string::npos) {
    const std::string path = is_file ? where.substr(std::string(kFile).size()) : where;
    return make_gloo_world(c10::make_intrusive<c10d::FileStore>(path, world_size), rank, world_size, timeout);
  }
  Rendezvous rendezvous;
  rendezvous.world_size = world_size;
  rendezvous.rank = rank;
  std::tie(rendezvous.host, rendezvous.port) = parse_address(where, "the address");
  return make_gloo_world(open_store(rendezvous), rank, world_size, timeout);
}

}  // namespace weft::comm
