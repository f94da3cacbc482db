// Comparisons that nobody waits for: they are piggybacked on other collectives.
#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "comm/agree/check_same.h"
#include "comm/agree/difference.h"
#include "comm/lockstep/call.h"
#include "comm/wire/axis.h"
#include "comm/wire/collectives.h"
#include "comm/wire/piggyback.h"
#include "comm/world/share_random_state.h"
#include "mesh/context.h"
#include "tensor/identity.h"

namespace weft::comm {
namespace {

// What ranks compare stays on the host wherever the mesh's groups take it: a copy to a GPU, or from it, waits for all
// that the GPU is to do before.
c10::DeviceType compared_on(Mesh mesh) {
  if (mesh->device_type() == "cpu" || mesh->is_simulated()) return at::kCPU;
  const auto& groups = context().bind(mesh).groups;
  const bool on_host = std::all_of(groups.begin(), groups.end(),
                                   [](const Group& group) { return !group || sends_from(*group) == at::kCPU; });
  return on_host ? at::kCPU : at::kCUDA;
}

// One hash of each rank, in the order of the mesh: each puts its own where the others have zero, and they are added up,
// along one axis of the mesh after the other.
class Check final : public PiggybackedReduction {
 public:
  Check(const std::vector<int64_t>& words, std::string what, Mesh mesh)
      : what_(std::move(what)),
        mesh_(mesh),
        on_(compared_on(mesh)),
        hash_(static_cast<int64_t>(hash_of(words))),
        axis_(mesh->ndim()) {
    const auto& coordinates = context().bind(mesh).coordinates;
    for (int axis = 0; axis < mesh->ndim(); ++axis) place_ = place_ * mesh->axis_size(axis) + coordinates[axis];
  }

  void begin() {
    const NoOp hidden;
    const Comparing comparing(what_);
    sent_ = true;
    at::Tensor mine = at::zeros({mesh_->size()}, at::kLong);
    mine.data_ptr<int64_t>()[place_] = hash_;
    hashes_ = mine.to(on_);
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
  at::Tensor to_send(const ReductionKind& kind) override {
    if (kind.mesh != mesh_ || kind.reduction != Reduction::sum || mesh_->axis_size(kind.axis) != mesh_->size())
      return {};
    if (kind.device.is_cuda() && on_ == at::kCPU) return {};
    digit_bits_ = digit_bits(kind.dtype);
    if (digit_bits_ == 0) return {};
    met_carrier_ = true;
    if (sent_) return {};
    const int64_t digits = 64 / digit_bits_;
    std::vector<float> mine(mesh_->size() * digits);
    for (int64_t i = 0; i < digits; ++i) mine[place_ * digits + i] = static_cast<float>(digit(i));
    return at::tensor(mine, at::kFloat).to(at::TensorOptions(kind.dtype).device(kind.device));
  }
  void receive(const at::Tensor& reduced) override {
    if (mesh_->is_simulated()) return;
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
  bool met_carrier() const { return met_carrier_; }

 private:
  // All whole numbers of so many bits are values of the dtype; 0: it is none to travel in.
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
    if (mesh_->is_simulated()) return;
    comm::compare({hashes.const_data_ptr<int64_t>(), static_cast<size_t>(hashes.numel())}, what_, mesh_);
  }

  const std::string what_;
  const Mesh mesh_;
  const c10::DeviceType on_;
  const int64_t hash_;
  int64_t place_ = 0;
  int axis_;  // the last one begun
  int digit_bits_ = 0;
  bool sent_ = false;         // on its own way
  bool met_carrier_ = false;  // whether one came by before it was finished
  at::Tensor hashes_;
  std::unique_ptr<Pending> reducing_;
};

struct Checks : ContextState {
  std::vector<std::shared_ptr<Check>> pending;
  std::set<Mesh> without_carriers;  // where none came by the last time
};

[[maybe_unused]] const bool before_collective_is_set = (before_collective.store(&finish_checks), true);

}  // namespace

void check_same_soon(const std::vector<int64_t>& words, const std::string& what, Mesh mesh) {
  if (mesh->size() == 1) return;
  Checks& checks = context().state<Checks>();
  auto check = std::make_shared<Check>(with_mesh(words, mesh), what, mesh);
  if (checks.without_carriers.contains(mesh)) check->begin();  // which is a collective, and so ends those before it
  checks.pending.push_back(check);
  PiggybackedReductions::wait_for_carrier(std::move(check));
}

void finish_checks() {
  Checks& checks = context().state<Checks>();
  if (checks.pending.empty()) [[likely]]
    return;
  std::vector<std::shared_ptr<Check>> own_way;
  for (auto& check : std::exchange(checks.pending, {})) {
    if (check->met_carrier()) {
      checks.without_carriers.erase(check->mesh());
    } else {
      checks.without_carriers.insert(check->mesh());
    }
    if (PiggybackedReductions::leave(*check))
      own_way.push_back(std::move(check));  // else it is taken, and its carrier's
  }
  for (const auto& check : own_way) {
    if (!check->is_sent()) check->begin();
  }
  for (const auto& check : own_way) check->finish();
}

}  // namespace weft::comm
