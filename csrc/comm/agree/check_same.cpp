#include "comm/agree/check_same.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <mutex>
#include <set>
#include <sstream>

#include "comm/agree/difference.h"
#include "comm/agree/gather_same.h"
#include "comm/agree/settings.h"
#include "comm/lockstep/call.h"
#include "comm/wire/collectives.h"
#include "comm/world/share_random_state.h"
#include "mesh/context.h"
#include "tensor/identity.h"

namespace weft::comm {
namespace {

// Meshes that all ranks have been found to have.
struct SameMeshes : ContextState {
  std::mutex mutex;
  std::set<Mesh> meshes;
};

// Of lines `name=value`.
Facts facts_of_settings(const std::string& set) {
  Facts facts;
  std::istringstream lines(set);
  for (std::string line; std::getline(lines, line);) {
    const size_t sign = line.find('=');
    facts.emplace_back("setting of " + line.substr(0, sign), sign == std::string::npos ? "" : line.substr(sign + 1));
  }
  return facts;
}

}  // namespace

Mesh world_mesh(Mesh mesh) {
  if (mesh != nullptr && mesh->is_simulated()) {
    return DeviceMesh::simulate({mesh->size()}, {"world"}, mesh->simulated_rank(), mesh->device_type());
  }
  const bool host = !context().world() || sends_from(*context().world()) == at::kCPU;
  return DeviceMesh::get({context().world_size()}, {"world"}, {}, host ? "cpu" : "cuda");
}

std::vector<int64_t> gather_same(const std::vector<int64_t>& words, const std::string& what, Mesh mesh, int64_t told,
                                 const std::function<Facts()>& facts) {
  if (context().world_size() == 1 && (mesh == nullptr || !mesh->is_simulated())) return {told};
  if (mesh == nullptr) mesh = world_mesh();
  const Mesh world = world_mesh(mesh);
  if (world->size() == 1) return {told};
  // What the ranks are in the midst of tells more.
  const Comparing comparing(Comparing::current() != nullptr ? Comparing::current()->what : what);
  const std::string set = settings();
  const uint64_t mine[] = {hash_of({set.begin(), set.end()}), hash_of(with_mesh(words, mesh)),
                           static_cast<uint64_t>(told)};
  std::vector<int64_t> of_settings, hashes, all_told;
  for (const auto& of_rank : gather_words({mine, mine + 3}, mesh)) {
    of_settings.push_back(of_rank[0]);
    hashes.push_back(of_rank[1]);
    all_told.push_back(of_rank[2]);
  }
  const std::string other_settings = difference(of_settings, world);
  TORCH_CHECK_VALUE(
      other_settings.empty(),
      "[W090] what is set by strict, frozen, random_mode, check_plain, register_rule and WEFT_COST must be the same "
      "on all ranks, but ",
      other_settings, different_facts(facts_of_settings(set), world));
  const std::string differs = difference(hashes, world);
  TORCH_CHECK_VALUE(differs.empty(), "[W090] ", what, " must be the same on all ranks, but ", differs,
                    different_facts(facts ? facts() : Facts(), mesh));
  auto& same = context().state<SameMeshes>();
  std::lock_guard<std::mutex> lock(same.mutex);
  same.meshes.insert(mesh);
  return all_told;
}

void check_same(const std::vector<int64_t>& words, const std::string& what, Mesh mesh,
                const std::function<Facts()>& facts) {
  gather_same(words, what, mesh, 0, facts);
}

void check_mesh(Mesh mesh) {
  if (context().world_size() == 1 || mesh->is_simulated()) return;
  {
    auto& same = context().state<SameMeshes>();
    std::lock_guard<std::mutex> lock(same.mutex);
    if (same.meshes.contains(mesh)) return;
  }
  check_same({}, kMeshMade, mesh);
}

bool compared_before() {
  auto& same = context().state<SameMeshes>();
  std::lock_guard<std::mutex> lock(same.mutex);
  return std::any_of(same.meshes.begin(), same.meshes.end(), [](Mesh mesh) { return !mesh->is_simulated(); });
}

std::vector<std::vector<int64_t>> gather_words(const std::vector<int64_t>& words, Mesh mesh) {
  const NoOp hidden;
  const Mesh world = world_mesh(mesh);
  const auto n = static_cast<int64_t>(words.size());
  const at::Device device = world->device_type() == "cuda" && !world->is_simulated() ? at::kCUDA : at::kCPU;
  const at::Tensor gathered =
      all_gather(at::tensor(words, at::kLong).to(device), 0, std::vector<int64_t>(world->size(), n), world, 0).cpu();
  std::vector<std::vector<int64_t>> by_rank;
  for (const int64_t* w = gathered.const_data_ptr<int64_t>(); by_rank.size() < static_cast<size_t>(world->size());) {
    by_rank.emplace_back(w, w + n);
    w += n;
  }
  return by_rank;
}

}  // namespace weft::comm
