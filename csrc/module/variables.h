#pragma once
// The variables of a module on their way to their layouts: first all are looked up and compared between the ranks, then
// each is laid out. So a mistake in the last of them leaves the module as it was.
#include <ATen/core/Tensor.h>
#include <weft/layout_map.h>

#include <string>
#include <unordered_map>
#include <vector>

namespace weft {

struct Variable {
  at::Tensor tensor;
  std::string path;  // the first one it is reached by
  Layout layout = nullptr;
  std::string rule;  // the pattern that gave it the layout; empty: none, or nobody asks
  std::string module_type;
  bool matched = false;  // by an entry of the map
};

class Variables {
 public:
  explicit Variables(const LayoutMap& map) : map_(map) {}
  /// Looks a variable up; its number. One that was added before under another path stays one variable. Raises
  /// ValueError where its paths ask for different layouts, several entries match, or the entry is for another number of
  /// dimensions.
  int64_t add(const at::Tensor& tensor, const std::string& path, const std::string& module_type);
  /// What the ranks must agree on.
  static constexpr char kWhat[] =
      "distribute_module: the module's variables (paths, shapes, dtypes, devices, layouts, gradients)";
  /// Raises ValueError on all ranks where they have different variables.
  void check_ranks() const;
  /// Whether the ranks have the same values, by a sample of each, and where some are on the meta device the same random
  /// state, from which these will get theirs. A warning that says what differs; empty: nothing. The same on all ranks,
  /// so that one of them is enough to tell.
  std::string differing_values() const;
  /// A warning of what the map has left out, on the first rank alone; empty: nothing. To be asked before anything is
  /// laid out.
  /// @param whole_is_meant  variables that no entry matches are replicated on purpose
  std::string left_out(bool whole_is_meant = false) const;
  /// Both warnings, by the first rank alone.
  void warn() const;
  /// The sharded variable, a leaf. Of one on the meta device: memory for this rank's part, on the mesh's device, that
  /// nobody has filled.
  at::Tensor lay_out(int64_t number) const;
  /// Lets go of the variable as it was, whose memory is free then if nobody else holds it.
  void forget(int64_t number) { all_.at(number).tensor.reset(); }
  const std::vector<Variable>& all() const { return all_; }

 private:
  const LayoutMap& map_;
  std::vector<Variable> all_;
  std::unordered_map<const c10::TensorImpl*, int64_t> numbers_;
};

/// The variable as a leaf in that layout with that path; its gradient, if there is one, laid out likewise. No check
/// between ranks. `rule`: the pattern that gave it the layout, for the debug log.
at::Tensor lay_out_variable(const at::Tensor& variable, Layout layout, const std::string& path,
                            const std::string& rule = {});

/// The module type under which leaf synonyms are known: a convolution with one group per input channel has its own.
std::string synonym_type(const std::string& module_type, at::IntArrayRef weight_sizes, int64_t groups);

}  // namespace weft
