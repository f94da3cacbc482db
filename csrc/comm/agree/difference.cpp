#include "comm/agree/difference.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "base/hash.h"
#include "base/quote.h"
#include "comm/lockstep/parted.h"

namespace weft::comm {
namespace {

constexpr size_t kNamed = 3;  // facts in an error

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

// A name and a value, each on a line of its own.
std::string lines_of(const Facts& facts) {
  std::string lines;
  for (const auto& [name, value] : facts) {
    lines += printable(name) + '\n' + printable(value) + '\n';
  }
  return lines;
}

// "[4] on rank 0, [5] on rank 1"; empty where all ranks have the same.
std::string differing_values(const std::string& name, const std::vector<std::map<std::string, std::string>>& by_rank) {
  std::vector<std::pair<std::string, std::vector<int64_t>>> values;
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    const auto found = by_rank[rank].find(name);
    const std::string value = found == by_rank[rank].end() ? "not there" : found->second;
    auto it = std::find_if(values.begin(), values.end(), [&](const auto& v) { return v.first == value; });
    if (it == values.end()) it = values.insert(it, {value, {}});
    it->second.push_back(static_cast<int64_t>(rank));
  }
  std::string out;
  for (const auto& [value, ranks] : values) out += (out.empty() ? "" : ", ") + value + " on " + named(ranks);
  return values.size() < 2 ? std::string() : out;
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
  return c10::str(named(others), others.size() == 1 ? " differs" : " differ", " from ", named(groups[0]));
}

void compare(c10::ArrayRef<int64_t> hashes, const std::string& what, Mesh mesh) {
  const std::string differs = difference(hashes, mesh);
  TORCH_CHECK_VALUE(differs.empty(), "[W090] ", what, " must be the same on all ranks, but ", differs);
}

std::string different_facts(Facts facts, Mesh mesh) {
  if (const std::string text = text_of(mesh); !text.empty()) facts.insert(facts.begin(), {"mesh", text});
  std::vector<std::string> names;
  std::vector<std::map<std::string, std::string>> by_rank;
  for (const std::string& text : gather_texts(lines_of(facts))) {
    std::istringstream lines(text);
    auto& of_rank = by_rank.emplace_back();
    for (std::string name, value; std::getline(lines, name) && std::getline(lines, value); of_rank[name] = value) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  std::string out;
  size_t differing = 0;
  for (const std::string& name : names) {
    const std::string values = differing_values(name, by_rank);
    if (!values.empty() && ++differing <= kNamed) out += "; the " + name + " is " + values;
  }
  return differing > kNamed ? out + c10::str(", and ", differing - kNamed, " more") : out;
}

}  // namespace weft::comm
