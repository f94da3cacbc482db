#include "comm/world/share_random_state.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "base/random_state.h"
#include "mesh/context.h"

namespace weft::comm {

c10::DeviceType sends_from(c10d::ProcessGroup& group) {
  const std::vector<c10::Device> devices = group.getDeviceTypes();
  const bool host = std::any_of(devices.begin(), devices.end(), [](const c10::Device& d) { return d.is_cpu(); });
  return host ? at::kCPU : at::kCUDA;
}

void share_random_state() {
  if (context().world_size() == 1) return;
  c10d::ProcessGroup& world = *context().world();
  const c10::DeviceType device = sends_from(world);
  auto states = random_state();
  std::vector<at::Tensor> held{at::full({1}, static_cast<int64_t>(states.size()), at::kLong).to(device)};
  c10d::AllreduceOptions fewest;
  fewest.reduceOp = c10d::ReduceOp::MIN;
  world.allreduce(held, fewest)->wait();
  states.resize(static_cast<size_t>(held[0].item<int64_t>()));
  for (const auto& [generator, state] : states) {
    std::vector<at::Tensor> sent{state.to(device)};
    world.broadcast(sent)->wait();
    set_random_state(generator, sent[0].cpu());
  }
}

}  // namespace weft::comm
