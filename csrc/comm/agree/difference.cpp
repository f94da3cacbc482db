#include "comm/agree/difference.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/hash.h"
#include "comm/agree/check_same.h"

namespace weft::comm {
namespace {

std::string ranks_text(const std::vector<int64_t>& ranks) {
  return (ranks.size() == 1 ? "rank " : "ranks ") + c10::Join(", ", ranks);
}

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

}  // namespace

uint64_t hash_of(const std::vector<int64_t>& words) {
  uint64_t h = words.size();
  for (int64_t word : words) h = mix(h, static_cast<uint64_t>(word));
  return h;
}

std::vector<int64_t> with_mesh(std::vector<int64_t> words, Mesh mesh) {
  words.insert(words.end(), mesh->ranks().begin(), mesh->ranks().end());
  for (char c : mesh->str() + mesh->device_type()) words.push_back(c);
  return words;
}

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
  TORCH_CHECK_VALUE(differs.empty(), "[W090] ", what, " must be the same on all ranks, but ", differs);
}

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

}  // namespace weft::comm
