#pragma once
// The inside of a LayoutMap, for layout_map.cpp and report.cpp.
#include <weft/layout_map.h>

#include <atomic>
#include <mutex>
#include <unordered_map>

#include "paths/adapter.h"
#include "paths/pattern.h"

namespace weft {

struct LayoutMap::State {
  struct Entry {
    std::string pattern;
    DimAxes axes;
    std::atomic<int64_t> matches{0};
  };
  using EntryPtr = std::shared_ptr<Entry>;

  /// The entries as look-ups see them; made at the first look-up after a change.
  struct Index {
    explicit Index(std::vector<EntryPtr> entries);
    std::vector<EntryPtr> entries;
    std::unordered_map<std::string, int> exact;
    PathMatcher matcher;
  };

  struct Hit {
    EntryPtr entry;
    Spelling spelling;
  };

  explicit State(Mesh mesh) : mesh(mesh) {}
  std::shared_ptr<const Index> current() const;
  /// Every entry that matches, each once, with the first spelling that it matched.
  std::vector<Hit> hits(const std::string& path, const std::string& module_type) const;
  /// The one hit; an error where there are more.
  std::optional<Hit> find(const std::string& path, const std::string& module_type) const;
  static LayoutMatch match(const Hit& hit);
  Layout layout(const LayoutMatch& match, const std::string& path, const std::vector<int64_t>& shape) const;

  const Mesh mesh;
  mutable std::mutex mutex;
  std::vector<EntryPtr> entries;
  std::unordered_map<std::string, EntryPtr> by_pattern;
  mutable std::shared_ptr<const Index> index;  // null after a change
};

/// The path as patterns see it.
PathMatcher::Forms forms_of(const std::string& canonical, const std::string& given);

}  // namespace weft
