#include "comm/agree/check_same.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "base/hash.h"
#include "comm/agree/settings.h"
#include "comm/lockstep/call.h"
#include "comm/wire/axis.h"
#include "comm/wire/collectives.h"
#include "comm/wire/riders.h"
#include "mesh/context.h"
#include "tensor/identity.h"

namespace weft::comm {
namespace {

uint64_t hash_of(const std::vector<int64_t>& words) {
  uint64_t h = words.size();
  for (int64_t word : words) h = mix(h, static_cast<uint64_t>(word));
  return h;
}

// The words and the mesh, which may itself differ.
std::vector<int64_t> with_mesh(std::vector<int64_t> words, Mesh mesh) {
  words.insert(words.end(), mesh->ranks().begin(), mesh->ranks().end());
  for (char c : mesh->str() + mesh->device_type()) words.push_back(c);
  return words;
}

std::string ranks_text(const std::vector<int64_t>& ranks) {
  return (ranks.size() == 1 ? "rank " : "ranks ") + c10::Join(", ", ranks);
}

// Who differs from whom, for an error; empty where all ranks have the same hash. They come in the order of the mesh.
std::string difference(c10::ArrayRef<int64_t> hashes, Mesh mesh) {
  std::map<int64_t, std::vector<int64_t>> ranks_by_hash;
  for (int64_t i = 0; i < mesh->size(); ++i) {
    ranks_by_hash[hashes[i]].push_back(mesh->ranks()[i]);
  }
  if (ranks_by_hash.size() == 1) return {};
  // What most ranks have is taken as meant; of equally many, what the lowest rank has.
  std::vector<std::vector<int64_t>> groups;
  for (auto& [hash, ranks] : ranks_by_hash) {
    std::sort(ranks.begin(), ranks.end());
    groups.push_back(ranks);
  }
  std::sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) {
    return a.size() != b.size() ? a.size() > b.size() : a.front() < b.front();
  });
  std::vector<int64_t> others;
  for (size_t g = 1; g < groups.size(); ++g) others.insert(others.end(), groups[g].begin(), groups[g].end());
  std::sort(others.begin(), others.end());
  return c10::str(ranks_text(others), others.size() == 1 ? " differs" : " differ", " from ", ranks_text(groups[0]));
}

void compare(c10::ArrayRef<int64_t> hashes, const std::string& what, Mesh mesh) {
  const std::string differs = difference(hashes, mesh);
  TORCH_CHECK_VALUE(differs.empty(), what, " must be the same on all ranks, but ", differs);
}

// Meshes that all ranks have been found to have.
struct SameMeshes : ContextState {
  std::mutex mutex;
  std::set<Mesh> meshes;
};

// All that two meshes may differ in; of the world's own line, which stands for no mesh, nothing.
std::string text_of(Mesh mesh) {
  if (mesh == world_mesh()) return {};
  const bool rising = std::is_sorted(mesh->ranks().begin(), mesh->ranks().end());
  return c10::str(mesh->str(), rising ? "" : " of ranks " + c10::Join(", ", mesh->ranks()), " on ",
                  mesh->device_type());
}

// Every rank's text, by rank of the world.
std::vector<std::string> gather_texts(const std::string& text) {
  std::vector<int64_t> words;
  size_t longest = 0;
  for (const auto& length : gather_words({static_cast<int64_t>(text.size())})) {
    longest = std::max(longest, static_cast<size_t>(length[0]));
  }
  if (longest == 0) return {};
  words.assign(text.begin(), text.end());
  words.resize(longest);
  std::vector<std::string> texts;
  for (const auto& of_rank : gather_words(words)) {
    texts.emplace_back(of_rank.begin(), std::find(of_rank.begin(), of_rank.end(), 0));
  }
  return texts;
}

// "; the mesh is mesh (a=2) on cpu on rank 0, mesh (b=2) on cpu on rank 1"; empty where the meshes are not what
// differs.
std::string different_meshes(Mesh mesh) {
  std::vector<std::pair<std::string, std::vector<int64_t>>> meshes;
  const std::vector<std::string> texts = gather_texts(text_of(mesh));
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    if (texts[rank].empty()) return {};
    auto it = std::find_if(meshes.begin(), meshes.end(), [&](const auto& m) { return m.first == texts[rank]; });
    if (it == meshes.end()) it = meshes.insert(it, {texts[rank], {}});
    it->second.push_back(static_cast<int64_t>(rank));
  }
  if (meshes.size() < 2) return {};
  std::string out;
  for (const auto& [text, ranks] : meshes) {
    out += (out.empty() ? "; the mesh is " : ", ") + text + " on " + ranks_text(ranks);
  }
  return out;
}

// One hash of each rank, in the order of the mesh: each puts its own where the others have zero, and they are added up,
// along one axis of the mesh after the other.
class Check final : public Rider {
 public:
  Check(const std::vector<int64_t>& words, std::string what, Mesh mesh)
      : what_(std::move(what)), mesh_(mesh), hash_(static_cast<int64_t>(hash_of(words))), axis_(mesh->ndim()) {
    const auto& coordinates = context().bind(mesh).coordinates;
    for (int axis = 0; axis < mesh->ndim(); ++axis) place_ = place_ * mesh->axis_size(axis) + coordinates[axis];
  }

  void begin() {
    const NoOp hidden;
    const Comparing comparing(what_);
    sent_ = true;
    at::Tensor mine = at::zeros({mesh_->size()}, at::kLong);
    mine.data_ptr<int64_t>()[place_] = hash_;
    hashes_ = mesh_->device_type() == "cuda" ? mine.to(at::kCUDA) : mine;
    begin_next();
  }
  void finish() {
    const NoOp hidden;
    const Comparing comparing(what_);
    while (reducing_) {
      reducing_->wait();
      begin_next();
    }
    compare(hashes_.cpu());
  }

  // Among sums of real numbers the hash travels in digits that each dtype adds to zeros exactly.
  at::Tensor to_send(const Ride& ride) override {
    if (ride.mesh != mesh_ || ride.reduction != Reduction::sum || mesh_->axis_size(ride.axis) != mesh_->size())
      return {};
    digit_bits_ = digit_bits(ride.dtype);
    if (digit_bits_ == 0) return {};
    met_ride_ = true;
    if (sent_) return {};
    const int64_t digits = 64 / digit_bits_;
    std::vector<float> mine(mesh_->size() * digits);
    for (int64_t i = 0; i < digits; ++i) mine[place_ * digits + i] = static_cast<float>(digit(i));
    return at::tensor(mine, at::kFloat).to(at::TensorOptions(ride.dtype).device(ride.device));
  }
  void receive(const at::Tensor& reduced) override {
    const at::Tensor sums = reduced.to(at::TensorOptions(at::kFloat).device(at::kCPU)).contiguous();
    const int64_t digits = 64 / digit_bits_;
    at::Tensor hashes = at::zeros({mesh_->size()}, at::kLong);
    for (int64_t i = 0; i < sums.numel(); ++i) {
      const auto value = static_cast<uint64_t>(sums.const_data_ptr<float>()[i]) << (i % digits * digit_bits_);
      hashes.data_ptr<int64_t>()[i / digits] |= static_cast<int64_t>(value);
    }
    compare(hashes);
  }

  Mesh mesh() const { return mesh_; }
  bool is_sent() const { return sent_; }
  bool met_ride() const { return met_ride_; }

 private:
  // All whole numbers of so many bits are values of the dtype; 0: it is none to ride in.
  static int digit_bits(c10::ScalarType dtype) {
    switch (dtype) {
      case at::kFloat:
      case at::kDouble:
        return 16;
      case at::kHalf:
      case at::kBFloat16:
        return 8;
      default:
        return 0;
    }
  }
  uint64_t digit(int64_t i) const {
    return (static_cast<uint64_t>(hash_) >> (i * digit_bits_)) & ((uint64_t{1} << digit_bits_) - 1);
  }
  void begin_next() {
    reducing_.reset();
    if (axis_ > 0) reducing_ = all_reduce_coalesced_({hashes_}, Reduction::sum, mesh_, --axis_);
  }
  void compare(const at::Tensor& hashes) const {
    comm::compare({hashes.const_data_ptr<int64_t>(), static_cast<size_t>(hashes.numel())}, what_, mesh_);
  }

  const std::string what_;
  const Mesh mesh_;
  const int64_t hash_;
  int64_t place_ = 0;
  int axis_;  // the last one begun
  int digit_bits_ = 0;
  bool sent_ = false;      // on its own way
  bool met_ride_ = false;  // whether one came by before it was finished
  at::Tensor hashes_;
  std::unique_ptr<Pending> reducing_;
};

struct Checks : ContextState {
  std::vector<std::shared_ptr<Check>> pending;
  std::set<Mesh> without_rides;  // where none came by the last time
};

[[maybe_unused]] const bool before_collective_is_set = (before_collective.store(&finish_checks), true);

}  // namespace

Mesh world_mesh() {
  bool host = !context().world();  // whether the world can send from there, which is quicker than from a GPU
  if (!host) {
    for (const c10::Device& device : context().world()->getDeviceTypes()) host = host || device.is_cpu();
  }
  return DeviceMesh::get({context().world_size()}, {"world"}, {}, host ? "cpu" : "cuda");
}

void check_same(const std::vector<int64_t>& words, const std::string& what, Mesh mesh) {
  if (context().world_size() == 1) return;
  if (mesh == nullptr) mesh = world_mesh();
  const Comparing comparing(what);
  const std::string set = settings();
  const uint64_t mine[] = {hash_of({set.begin(), set.end()}), hash_of(with_mesh(words, mesh))};
  std::vector<int64_t> of_settings, hashes;
  for (const auto& of_rank : gather_words({mine, mine + 2})) {
    of_settings.push_back(of_rank[0]);
    hashes.push_back(of_rank[1]);
  }
  compare(of_settings, "what is set by strict, random_mode, check_plain and register_rule", world_mesh());
  const std::string differs = difference(hashes, world_mesh());
  TORCH_CHECK_VALUE(differs.empty(), what, " must be the same on all ranks, but ", differs, different_meshes(mesh));
  auto& same = context().state<SameMeshes>();
  std::lock_guard<std::mutex> lock(same.mutex);
  same.meshes.insert(mesh);
}

void check_mesh(Mesh mesh) {
  if (context().world_size() == 1) return;
  {
    auto& same = context().state<SameMeshes>();
    std::lock_guard<std::mutex> lock(same.mutex);
    if (same.meshes.contains(mesh)) return;
  }
  check_same({}, kMeshMade, mesh);
}

std::vector<std::vector<int64_t>> gather_words(const std::vector<int64_t>& words) {
  const NoOp hidden;
  const Mesh world = world_mesh();
  const auto n = static_cast<int64_t>(words.size());
  const at::Device device = world->device_type() == "cuda" ? at::kCUDA : at::kCPU;
  const at::Tensor gathered =
      all_gather(at::tensor(words, at::kLong).to(device), 0, std::vector<int64_t>(world->size(), n), world, 0).cpu();
  std::vector<std::vector<int64_t>> by_rank;
  for (const int64_t* w = gathered.const_data_ptr<int64_t>(); by_rank.size() < static_cast<size_t>(world->size());) {
    by_rank.emplace_back(w, w + n);
    w += n;
  }
  return by_rank;
}

void check_same_soon(const std::vector<int64_t>& words, const std::string& what, Mesh mesh) {
  if (mesh->size() == 1) return;
  Checks& checks = context().state<Checks>();
  auto check = std::make_shared<Check>(with_mesh(words, mesh), what, mesh);
  if (checks.without_rides.contains(mesh)) check->begin();  // which is a collective, and so ends those before it
  checks.pending.push_back(check);
  Riders::wait_for_ride(std::move(check));
}

void finish_checks() {
  Checks& checks = context().state<Checks>();
  if (checks.pending.empty()) [[likely]]
    return;
  std::vector<std::shared_ptr<Check>> own_way;
  for (auto& check : std::exchange(checks.pending, {})) {
    if (check->met_ride()) {
      checks.without_rides.erase(check->mesh());
    } else {
      checks.without_rides.insert(check->mesh());
    }
    if (Riders::leave(*check)) own_way.push_back(std::move(check));  // else it is on board, and its carrier's
  }
  for (const auto& check : own_way) {
    if (!check->is_sent()) check->begin();
  }
  for (const auto& check : own_way) check->finish();
}

}  // namespace weft::comm
