#pragma once
// LayoutMap: patterns over variable paths -> layouts, with Keras's rules; and the report of what each path got.
#include <weft/layout.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace weft {

/// Per tensor dimension the names of the mesh axes that split it, major first; empty: not split.
using DimAxes = std::vector<std::vector<std::string>>;

/// "(model, None)", "((data, model), None)", "(model,)"
WEFT_API std::string to_string(const DimAxes& axes);

/// The entry of a LayoutMap that a path found.
struct LayoutMatch {
  std::string pattern;
  DimAxes axes;          // for the variable's own dimensions: permuted where `spelling` orders them otherwise
  std::string spelling;  // the spelling of the path that the pattern matched: ".../kernel" for a Linear's ".../weight"
};

/// One entry, for listing.
struct LayoutRule {
  std::string pattern;
  DimAxes axes;
  int64_t matches = 0;  // look-ups that found it
};

/// A variable for the report. `item_bytes` is the size of one element.
struct VariableInfo {
  std::string path;
  std::vector<int64_t> shape;
  int64_t item_bytes = 4;
  std::string module_type = {};  // see LayoutMap::lookup
  Layout layout = nullptr;       // what the variable has; null: what the map says
};

struct PathReport;

/// Ordered entries pattern -> axes over one mesh. Keras's rules: an exact key wins; else every pattern is tried against
/// the whole path (full match), and more than one match is an error; none means "no layout". Patterns are RE2's: time
/// linear in the path, so no look-around and no backreferences. `layers/0/weight` and `layers.0.weight` are one path: a
/// pattern with a '/' is tried against the former, one with a literal dot (`\.`) against the latter, any other against
/// both. Look-ups may run on several threads at once, also beside `insert` and `erase`.
class WEFT_API LayoutMap {
 public:
  explicit LayoutMap(Mesh mesh);
  ~LayoutMap();
  LayoutMap(LayoutMap&&) noexcept;
  LayoutMap& operator=(LayoutMap&&) noexcept;

  Mesh mesh() const;
  int64_t size() const;
  /// The entries in the order of insertion.
  std::vector<LayoutRule> rules() const;

  /// Raises ValueError naming the pattern where it is a duplicate or no valid expression, where an axis is not one of
  /// the mesh's, or where an axis is used twice.
  void insert(const std::string& pattern, DimAxes axes);
  /// Raises ValueError where there is no such entry.
  void erase(const std::string& pattern);
  bool contains(const std::string& pattern) const;

  /// The entry for a variable's path, in '/' or '.' form ("_torch_params." prefixes are cut).
  /// @param module_type  type of the module that owns the variable ("Linear", "torch.nn.modules.conv.Conv2d", "Dense");
  ///   with it an entry may also name the leaf as the other framework does (kernel for weight, gamma for weight, …),
  ///   its axes then being in that framework's order. Empty: no synonyms.
  /// Raises ValueError naming all entries where more than one matches.
  std::optional<LayoutMatch> lookup(const std::string& path, const std::string& module_type = {}) const;
  /// Its layout; null where no entry matches. Raises ValueError naming path, pattern and shape where the entry names
  /// another number of dimensions.
  Layout layout_for(const std::string& path, const std::vector<int64_t>& shape,
                    const std::string& module_type = {}) const;
  /// Patterns of all entries that match; never raises, counts nothing.
  std::vector<std::string> matching(const std::string& path, const std::string& module_type = {}) const;

  /// A plan file's text: {"weft_layout_map": 1, "mesh": {...}, "rules": {pattern: [null | "axis" | ["axis", ...]]}}.
  std::string to_json() const;
  /// Reads `to_json`'s text. With a mesh, that one is used and the text's own is ignored; without, the text's is made.
  /// Raises ValueError with `source`, line and column.
  static LayoutMap from_json(const std::string& text, Mesh mesh = nullptr, const std::string& source = "layout map");
  /// The same with a file, which `save` replaces in one step.
  void save(const std::string& file) const;
  static LayoutMap load(const std::string& file, Mesh mesh = nullptr);

 private:
  friend WEFT_API PathReport report(const LayoutMap& map, const std::vector<VariableInfo>& variables);
  struct State;
  std::unique_ptr<State> state_;
};

/// What one variable got.
struct PathRow {
  std::string path;
  std::vector<int64_t> shape;
  int64_t item_bytes = 0;
  std::string pattern;  // empty: no entry matched
  std::string layout;   // "(model, None)"
  int64_t bytes = 0;
  int64_t bytes_per_rank = 0;  // of the rank that holds most
};

/// Something a user would want to know.
struct ReportNote {
  enum Kind : uint8_t {
    unused_rule,         // a rule that matched nothing
    unmatched_variable,  // a large variable that no rule matched
    near_miss,           // a rule that matches a part of unmatched paths, but not the whole
    ambiguous,           // several rules match one path
    invalid,             // the rule does not fit the variable
    uneven,              // a dimension that does not divide
  };
  Kind kind;
  std::string subject;  // the rule's pattern or the variable's path
  std::string text;     // a whole sentence, subject included
};
WEFT_API const char* to_string(ReportNote::Kind kind);

/// What `report` finds.
struct PathReport {
  std::string mesh;
  std::vector<PathRow> rows;
  std::vector<ReportNote> notes;
  int64_t bytes = 0;
  int64_t bytes_per_rank = 0;
};

/// Looks every variable up (counting nothing) and notes what is odd; a faulty map gives notes, not errors. A variable
/// is large from 1 MiB on, or from two dimensions and one hundredth of all bytes on.
WEFT_API PathReport report(const LayoutMap& map, const std::vector<VariableInfo>& variables);
/// An aligned text table with the notes below it.
WEFT_API std::string render(const PathReport& report);
WEFT_API std::string to_json(const PathReport& report);

}  // namespace weft
