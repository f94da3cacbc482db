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
};

class Variables {
 public:
  explicit Variables(const LayoutMap& map) : map_(map) {}
  /// Looks a variable up. One that was added before under another path stays one variable; its paths must not ask for
  /// different layouts.
  void add(const at::Tensor& tensor, const std::string& path, const std::string& module_type);
  /// What the ranks must agree on.
  static constexpr char kWhat[] =
      "distribute_module: the module's variables (paths, shapes, dtypes, layouts, gradients)";
  /// Raises ValueError on all ranks where they have different variables.
  void check_ranks() const;
  /// The sharded variable: a leaf, made once.
  const at::Tensor& laid_out(const at::Tensor& tensor);
  const std::vector<Variable>& all() const { return all_; }
  void clear() { all_.clear(); }

 private:
  const LayoutMap& map_;
  std::vector<Variable> all_;
  std::vector<at::Tensor> results_;
  std::unordered_map<const c10::TensorImpl*, size_t> index_;
};

/// The variable as a leaf in that layout with that path; its gradient, if there is one, laid out likewise. No check
/// between ranks. `rule`: the pattern that gave it the layout, for the debug log.
at::Tensor lay_out_variable(const at::Tensor& variable, Layout layout, const std::string& path,
                            const std::string& rule = {});

/// The module type under which leaf synonyms are known: a convolution with one group per input channel has its own.
std::string synonym_type(const std::string& module_type, at::IntArrayRef weight_sizes, int64_t groups);

}  // namespace weft
