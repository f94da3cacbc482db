#include "comm/loopback/loopback.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <algorithm>

#include "comm/loopback/loopback_state.h"

namespace weft::comm {

LoopbackWorld::LoopbackWorld(int size, LoopbackOptions options)
    : state_(std::make_shared<State>(size, std::move(options))) {}
LoopbackWorld::LoopbackWorld(std::shared_ptr<State> state) : state_(std::move(state)) {}

Group LoopbackWorld::group(int rank, const std::vector<int>& ranks) {
  std::shared_ptr<Hub> hub;
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    auto& slot = state_->hubs[{ranks, state_->asked[rank][ranks]++}];
    if (!slot) slot = std::make_shared<Hub>(Hub{ranks, {}});
    hub = slot;
  }
  const auto number = std::find(ranks.begin(), ranks.end(), rank);
  TORCH_INTERNAL_ASSERT(number != ranks.end(), "rank ", rank, " asks for a group that it is not in");
  const int position = static_cast<int>(number - ranks.begin());
  auto backend = loopback_backend(state_, hub, rank, position);
  auto group = c10::make_intrusive<c10d::ProcessGroup>(state_->store, position, static_cast<int>(ranks.size()));
  const auto type = c10d::ProcessGroup::BackendType::CUSTOM;
  group->setBackend(c10::DeviceType::CPU, type, backend);
  group->setBackend(c10::DeviceType::CUDA, type, backend);
  group->setDefaultBackend(type);
  return group;
}

Group LoopbackWorld::group(int rank) {
  std::vector<int> ranks;
  for (int r = 0; r < state_->size; ++r) ranks.push_back(r);
  return group(rank, ranks);
}

std::unique_ptr<Context> LoopbackWorld::make_context(int rank) {
  auto made = std::make_unique<Context>(
      group(rank), [world = *this, rank](const std::vector<int>& ranks) mutable { return world.group(rank, ranks); });
  if (state_->side) made->set_side(LoopbackWorld(state_->side).group(rank));
  return made;
}

void LoopbackWorld::inject(LoopbackFault fault) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  state_->faults.push_back(fault);
}

void LoopbackWorld::end(int rank) {
  if (state_->side) LoopbackWorld(state_->side).end(rank);
  std::lock_guard<std::mutex> lock(state_->mutex);
  state_->ended.insert(rank);
  for (const auto& [ranks, hub] : state_->hubs) {
    for (const auto& [key, collective] : hub->open) {
      const std::vector<int> missing = collective->who(false);
      if (collective->arrived == 0 || std::find(missing.begin(), missing.end(), rank) == missing.end()) continue;
      if (state_->error.empty()) {
        state_->error = c10::str(collective->str(), " waits for rank ", rank, ", which has ended");
      }
      state_->changed.notify_all();
    }
  }
}

}  // namespace weft::comm
