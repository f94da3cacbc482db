#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <map>

#include "comm/axis.h"
#include "comm/collectives.h"

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

}  // namespace

void check_same(const std::vector<int64_t>& words, const std::string& what, Mesh mesh) {
  if (mesh->size() == 1) return;
  at::Tensor hashes = at::full({1}, static_cast<int64_t>(hash_of(words)), at::kLong);
  if (mesh->device_type() == "cuda") hashes = hashes.to(at::kCUDA);
  // Gathered along each axis, innermost first, the hashes end in the order of the mesh's ranks.
  for (int axis = mesh->ndim() - 1; axis >= 0; --axis) {
    hashes = all_gather(hashes, 0, std::vector<int64_t>(mesh->axis_size(axis), hashes.size(0)), mesh, axis);
  }
  hashes = hashes.cpu();
  std::map<int64_t, std::vector<int64_t>> ranks_by_hash;
  for (int64_t i = 0; i < mesh->size(); ++i) {
    ranks_by_hash[hashes.const_data_ptr<int64_t>()[i]].push_back(mesh->ranks()[i]);
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
  TORCH_CHECK_VALUE(false, what, " must be the same on all ranks of ", mesh->str(), ", but ",
                    others.size() == 1 ? "rank " : "ranks ", c10::Join(", ", others),
                    others.size() == 1 ? " differs" : " differ", " from ", groups[0].size() == 1 ? "rank " : "ranks ",
                    c10::Join(", ", groups[0]));
}

}  // namespace weft::comm
