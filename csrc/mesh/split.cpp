#include "mesh/split.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include <algorithm>
#include <cstdint>

namespace weft {
namespace {

using Backend = c10::intrusive_ptr<c10d::Backend>;

// Until torch 2.15 a split writes the part's name and ranks into the options of the backend that it splits, and the
// next split then reads them as the whole world's.
class KeptOptions {
 public:
  explicit KeptOptions(const std::vector<Backend>& backends) {
    for (const Backend& backend : backends) {
      const auto options = backend->getBackendOptions();
      kept_.push_back({options, options->group_name, options->global_ranks_in_group});
    }
  }
  ~KeptOptions() {
    for (Kept& kept : kept_) {
      kept.options->group_name = std::move(kept.name);
      kept.options->global_ranks_in_group = std::move(kept.ranks);
    }
  }
  KeptOptions(const KeptOptions&) = delete;
  KeptOptions& operator=(const KeptOptions&) = delete;

 private:
  struct Kept {
    c10::intrusive_ptr<c10d::Backend::Options> options;
    std::string name;
    std::vector<uint64_t> ranks;
  };
  std::vector<Kept> kept_;
};

// Options that a part may keep and change; before torch 2.15 there is no way to copy them.
template <class Options>
c10::intrusive_ptr<Options> copied(const c10::intrusive_ptr<Options>& options) {
  if constexpr (requires { options->clone(); }) {
    return options->clone();
  } else {
    return options;
  }
}

}  // namespace

std::vector<Backend> backends_of(const Group& group) {
  std::vector<Backend> backends;
  for (const c10::Device& device : group->getDeviceTypes()) {
    Backend backend = group->getBackend(device.type());
    if (std::find(backends.begin(), backends.end(), backend) == backends.end()) backends.push_back(std::move(backend));
  }
  return backends;
}

Group split_world(const Group& world, const std::vector<int>& ranks, const std::string& name) {
  const std::vector<Backend> backends = backends_of(world);
  const KeptOptions kept(backends);
  const std::vector<c10::Device> devices = world->getDeviceTypes();
  if (backends.size() > 1 || devices.size() == 1) {
    return world->splitGroup(ranks, std::nullopt, std::nullopt, name, name);
  }
  // One backend for several kinds of devices, as a Gloo world has it: ProcessGroup::splitGroup would split it once for
  // each of them, with the same keys in the store, and ranks would find each other's wrong halves.
  const auto store = c10::make_intrusive<c10d::PrefixStore>(name, world->getStore()->clone());
  const auto options = copied(backends[0]->getBackendOptions());
  options->group_name = name;
  const Backend part = backends[0]->split(store, ranks, options);
  if (!part) return {};
  part->setGroupDesc(name);
  auto group = c10::make_intrusive<c10d::ProcessGroup>(store, part->getRank(), part->getSize());
  for (const c10::Device& device : devices) group->setBackend(device.type(), world->getBackendType(), part);
  group->setDefaultBackend(world->getBackendType());
  group->setGroupName(name);
  group->setGroupDesc(name);
  return group;
}

}  // namespace weft
