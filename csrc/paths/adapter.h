#pragma once
// Keras variable paths <-> torch parameter names, and the leaf names by which the two frameworks call the same weight.
#include <weft/layout_map.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

/// A name of `named_parameters()`, taken apart. Keras on torch names its variables "_torch_params.<Keras path>", with
/// more in front where the model is nested ("_functional._torch_params.dense/kernel").
struct VariableName {
  std::string prefix;  // what was cut, up to and with "_torch_params."; empty for a name of torch's own
  std::string path;    // Keras form: "encoder/layers/0/self_attn/in_proj_weight"
};

/// Accepts names of both frameworks and Keras paths.
VariableName split_name(std::string_view name);
/// The inverse: join_name(split_name(name)) == name, except where a torch name holds a '/' itself (a ModuleDict's key)
/// or where `name` was a Keras path.
std::string join_name(const VariableName& name);
/// split_name(name).path
std::string canonical_path(std::string_view name);
/// "a/b/c" -> "a.b.c"
std::string torch_name(std::string_view path);

/// Another name for a leaf, and how that leaf's dimensions map to ours.
struct LeafSynonym {
  std::string leaf;  // may name a submodule too: "lstm_cell/kernel"
  /// permutation[d]: the synonym's dimension that is dimension d of ours; -1: it has no such dimension (d is not
  /// split). Empty: the same dimensions in the same order, however many.
  std::vector<int64_t> permutation;
};

/// "torch.nn.modules.linear.Linear", "__torch__.….___torch_mangle_3.Linear", "torch::nn::LinearImpl" -> "Linear"
std::string canonical_module_type(std::string_view module_type);

/// Other names of the leaf of a module of that type, in both directions: ("Linear", "weight") -> kernel with {1, 0};
/// ("Dense", "kernel") -> weight with {1, 0}. By type, since "weight" alone may be a kernel, a gamma or a table of
/// embeddings. A torch convolution with one group per input channel is "DepthwiseConv1d" or "DepthwiseConv2d" here.
/// Empty for unknown types and for leaves both frameworks call the same.
std::vector<LeafSynonym> leaf_synonyms(std::string_view module_type, std::string_view leaf);

/// A path under which a LayoutMap may know a variable; the first is the canonical path itself.
struct Spelling {
  std::string path;
  std::vector<int64_t> permutation;
};
std::vector<Spelling> spellings(std::string_view path, std::string_view module_type);

/// Axes written for a synonym, for our dimensions. Axes of another length than the synonym's come back as they are (the
/// check against the variable's shape names the mistake). Raises ValueError where a dimension is split that ours lacks.
DimAxes permute_axes(const DimAxes& axes, const std::vector<int64_t>& permutation);

}  // namespace weft
