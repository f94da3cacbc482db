#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <map>

#include "comm/axis.h"
#include "comm/collectives.h"
#include "mesh/context.h"

namespace weft::comm {
namespace {

// FNV-1a over the words' bytes: the same on all machines, unlike std::hash.
uint64_t hash_of(const std::vector<int64_t>& words) {
  uint64_t h = 14695981039346656037ull;
  auto add = [&](uint64_t word) {
    for (int i = 0; i < 8; ++i) h = (h ^ ((word >> (8 * i)) & 0xff)) * 1099511628211ull;
  };
  add(words.size());
  for (int64_t word : words) add(static_cast<uint64_t>(word));
  return h;
}

// One hash of each rank, in the order of the mesh: each puts its own where the others have zero, and they are added up,
// along one axis of the mesh after the other.
class Check {
 public:
  Check(const std::vector<int64_t>& words, std::string what, Mesh mesh)
      : what_(std::move(what)), mesh_(mesh), axis_(mesh->ndim()) {
    at::Tensor mine = at::zeros({mesh->size()}, at::kLong);
    int64_t place = 0;
    const auto& coordinates = context().bind(mesh).coordinates;
    for (int axis = 0; axis < mesh->ndim(); ++axis) place = place * mesh->axis_size(axis) + coordinates[axis];
    mine.data_ptr<int64_t>()[place] = static_cast<int64_t>(hash_of(words));
    hashes_ = mesh->device_type() == "cuda" ? mine.to(at::kCUDA) : mine;
    begin_next();
  }

  void finish() {
    while (reducing_) {
      reducing_->wait();
      begin_next();
    }
    compare(hashes_.cpu());
  }

 private:
  void begin_next() {
    reducing_.reset();
    if (axis_ > 0) reducing_ = all_reduce_coalesced_({hashes_}, Reduction::sum, mesh_, --axis_);
  }
  void compare(const at::Tensor& hashes) const;

  std::string what_;
  Mesh mesh_;
  int axis_;  // the last one begun
  at::Tensor hashes_;
  std::unique_ptr<Pending> reducing_;
};

struct Checks : ContextState {
  std::vector<Check> pending;
};

void Check::compare(const at::Tensor& hashes) const {
  std::map<int64_t, std::vector<int64_t>> ranks_by_hash;
  for (int64_t i = 0; i < mesh_->size(); ++i) {
    ranks_by_hash[hashes.const_data_ptr<int64_t>()[i]].push_back(mesh_->ranks()[i]);
  }
  if (ranks_by_hash.size() == 1) return;
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
  TORCH_CHECK_VALUE(false, what_, " must be the same on all ranks of ", mesh_->str(), ", but ",
                    others.size() == 1 ? "rank " : "ranks ", c10::Join(", ", others),
                    others.size() == 1 ? " differs" : " differ", " from ", groups[0].size() == 1 ? "rank " : "ranks ",
                    c10::Join(", ", groups[0]));
}

}  // namespace

void check_same(const std::vector<int64_t>& words, const std::string& what, Mesh mesh) {
  if (mesh->size() > 1) Check(words, what, mesh).finish();
}

void check_same_soon(const std::vector<int64_t>& words, const std::string& what, Mesh mesh) {
  if (mesh->size() == 1) return;
  Check check(words, what, mesh);  // which is a collective, and so ends those before it
  context().state<Checks>().pending.push_back(std::move(check));
}

void finish_checks() {
  auto& pending = context().state<Checks>().pending;
  if (pending.empty()) [[likely]]
    return;
  std::vector<Check> checks = std::exchange(pending, {});
  for (Check& check : checks) check.finish();
}

}  // namespace weft::comm
