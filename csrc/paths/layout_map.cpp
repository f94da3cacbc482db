#include <c10/util/Exception.h>
#include <weft/layout_map.h>

#include <algorithm>
#include <set>

#include "base/quote.h"
#include "paths/layout_map_state.h"

namespace weft {
namespace {

constexpr size_t kNamedEntries = 8;  // in an error

void check_axes(Mesh mesh, const std::string& pattern, const DimAxes& axes) {
  const std::vector<std::string>& names = mesh->axis_names();
  std::set<std::string> used;
  for (size_t d = 0; d < axes.size(); ++d) {
    for (const std::string& axis : axes[d]) {
      TORCH_CHECK_VALUE(std::find(names.begin(), names.end(), axis) != names.end(), "[W025] LayoutMap: pattern ",
                        quote(pattern), ": axis ", quote(axis), " of dimension ", d, " is not in ", mesh->str());
      TORCH_CHECK_VALUE(used.insert(axis).second, "[W027] LayoutMap: pattern ", quote(pattern), ": axis ", quote(axis),
                        " is used twice in ", printable(to_string(axes)), "; an axis can split one dimension only");
    }
  }
}

template <class Range>
std::vector<std::string> patterns_of(const Range& entries) {
  std::vector<std::string> patterns;
  for (const auto& entry : entries) patterns.push_back(entry->pattern);
  return patterns;
}

std::unordered_map<std::string, int> positions(const std::vector<std::string>& patterns) {
  std::unordered_map<std::string, int> out;
  for (size_t i = 0; i < patterns.size(); ++i) out.emplace(patterns[i], static_cast<int>(i));
  return out;
}

}  // namespace

std::string to_string(const DimAxes& axes) {
  std::string out = "(";
  for (size_t d = 0; d < axes.size(); ++d) {
    if (d > 0) out += ", ";
    if (axes[d].empty()) out += "None";
    if (axes[d].size() == 1) out += axes[d][0];
    if (axes[d].size() < 2) continue;
    for (size_t i = 0; i < axes[d].size(); ++i) out += (i == 0 ? "(" : ", ") + axes[d][i];
    out += ")";
  }
  return out + (axes.size() == 1 ? ",)" : ")");
}

PathMatcher::Forms forms_of(const std::string& canonical, const std::string& given) {
  PathMatcher::Forms forms{canonical, torch_name(canonical), given};
  if (given == forms.slash || given == forms.dot) forms.given.clear();
  return forms;
}

LayoutMap::State::Index::Index(std::vector<EntryPtr> all)
    : entries(std::move(all)),
      exact(positions(patterns_of(entries))),
      matcher(patterns_of(entries), PathMatcher::whole) {}

std::shared_ptr<const LayoutMap::State::Index> LayoutMap::State::current() const {
  std::lock_guard<std::mutex> lock(mutex);
  if (index == nullptr) index = std::make_shared<const Index>(entries);
  return index;
}

std::vector<LayoutMap::State::Hit> LayoutMap::State::hits(const std::string& path,
                                                          const std::string& module_type) const {
  const std::shared_ptr<const Index> now = current();
  std::vector<Hit> found;
  auto add = [&](int id, const Spelling& spelling) {
    const EntryPtr& entry = now->entries[id];
    const bool known = std::any_of(found.begin(), found.end(), [&](const Hit& hit) { return hit.entry == entry; });
    if (!known) found.push_back({entry, spelling});
  };
  const std::vector<Spelling> all = spellings(path, module_type);
  std::vector<PathMatcher::Forms> forms;
  for (const Spelling& s : all) forms.push_back(forms_of(s.path, &s == &all[0] ? path : s.path));
  for (size_t i = 0; i < all.size(); ++i) {
    for (const std::string* form : {&forms[i].slash, &forms[i].dot, &forms[i].given}) {
      const auto it = now->exact.find(*form);
      if (it != now->exact.end()) add(it->second, all[i]);
    }
  }
  if (!found.empty()) return found;
  for (size_t i = 0; i < all.size(); ++i) {
    for (int id : now->matcher.match(forms[i])) add(id, all[i]);
  }
  return found;
}

std::optional<LayoutMap::State::Hit> LayoutMap::State::find(const std::string& path,
                                                            const std::string& module_type) const {
  std::vector<Hit> found = hits(path, module_type);
  if (found.empty()) return std::nullopt;
  if (found.size() == 1) return std::move(found[0]);
  const std::string canonical = canonical_path(path);
  std::string names;
  for (size_t i = 0; i < found.size() && i < kNamedEntries; ++i) {
    names += (names.empty() ? "" : ", ") + quote(found[i].entry->pattern);
    if (found[i].spelling.path != canonical) names += " (as " + quote(found[i].spelling.path) + ")";
  }
  if (found.size() > kNamedEntries) names += " and others";
  TORCH_CHECK_VALUE(false, "[W041] LayoutMap: path ", quote(path), " matches ", found.size(), " entries: ", names,
                    ". Make them narrower, or insert the path itself: an exact key wins over every pattern");
}

LayoutMatch LayoutMap::State::match(const Hit& hit) {
  return {hit.entry->pattern, permute_axes(hit.entry->axes, hit.spelling.permutation), hit.spelling.path};
}

Layout LayoutMap::State::layout(const LayoutMatch& match, const std::string& path,
                                const std::vector<int64_t>& shape) const {
  std::string sizes;
  for (int64_t size : shape) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  TORCH_CHECK_VALUE(match.axes.size() == shape.size(), "[W028] LayoutMap: path ", quote(path), " has shape [", sizes,
                    "], ", shape.size(), " dimensions, but pattern ", quote(match.pattern), " gives ",
                    match.axes.size(), ": ", printable(to_string(match.axes)),
                    ". Write one axis, tuple of axes or None for each dimension");
  return TensorLayout::from_names(mesh, match.axes);
}

LayoutMap::LayoutMap(Mesh mesh) {
  TORCH_CHECK_VALUE(mesh != nullptr, "[W030] LayoutMap: a device mesh is needed");
  state_ = std::make_unique<State>(mesh);
}
LayoutMap::~LayoutMap() = default;
LayoutMap::LayoutMap(LayoutMap&&) noexcept = default;
LayoutMap& LayoutMap::operator=(LayoutMap&&) noexcept = default;

Mesh LayoutMap::mesh() const { return state_->mesh; }

int64_t LayoutMap::size() const {
  std::lock_guard<std::mutex> lock(state_->mutex);
  return static_cast<int64_t>(state_->entries.size());
}

std::vector<LayoutRule> LayoutMap::rules() const {
  std::lock_guard<std::mutex> lock(state_->mutex);
  std::vector<LayoutRule> rules;
  for (const auto& entry : state_->entries) rules.push_back({entry->pattern, entry->axes, entry->matches.load()});
  return rules;
}

void LayoutMap::insert(const std::string& pattern, DimAxes axes) {
  check_pattern(pattern);
  check_axes(state_->mesh, pattern, axes);
  auto entry = std::make_shared<State::Entry>();
  entry->pattern = pattern;
  entry->axes = std::move(axes);
  std::lock_guard<std::mutex> lock(state_->mutex);
  TORCH_CHECK_VALUE(state_->by_pattern.emplace(pattern, entry).second, "[W042] LayoutMap: pattern ", quote(pattern),
                    " is there already, with ", to_string(state_->by_pattern.at(pattern)->axes),
                    "; erase it first to replace it");
  state_->entries.push_back(std::move(entry));
  state_->index.reset();
}

void LayoutMap::erase(const std::string& pattern) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  const auto it = state_->by_pattern.find(pattern);
  TORCH_CHECK_VALUE(it != state_->by_pattern.end(), "[W043] LayoutMap: there is no pattern ", quote(pattern));
  auto& entries = state_->entries;
  entries.erase(std::find(entries.begin(), entries.end(), it->second));
  state_->by_pattern.erase(it);
  state_->index.reset();
}

bool LayoutMap::contains(const std::string& pattern) const {
  std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->by_pattern.count(pattern) > 0;
}

std::optional<LayoutMatch> LayoutMap::lookup(const std::string& path, const std::string& module_type) const {
  const std::optional<State::Hit> hit = state_->find(path, module_type);
  if (!hit) return std::nullopt;
  LayoutMatch match = State::match(*hit);
  hit->entry->matches.fetch_add(1, std::memory_order_relaxed);
  return match;
}

Layout LayoutMap::layout_for(const std::string& path, const std::vector<int64_t>& shape,
                             const std::string& module_type) const {
  const std::optional<LayoutMatch> match = lookup(path, module_type);
  return match ? state_->layout(*match, path, shape) : nullptr;
}

std::vector<std::string> LayoutMap::matching(const std::string& path, const std::string& module_type) const {
  std::vector<std::string> patterns;
  for (const State::Hit& hit : state_->hits(path, module_type)) patterns.push_back(hit.entry->pattern);
  return patterns;
}

}  // namespace weft
