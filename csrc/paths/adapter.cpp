#include "paths/adapter.h"

#include <c10/util/Exception.h>

#include <algorithm>

#include "base/quote.h"

namespace weft {
namespace {

constexpr std::string_view kKerasMarker = "_torch_params.";

std::string replaced(std::string_view text, char from, char to) {
  std::string out(text);
  std::replace(out.begin(), out.end(), from, to);
  return out;
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

struct Row {
  std::string_view types;  // separated by spaces
  std::string_view leaf;
  std::string_view synonym;
  std::vector<int64_t> permutation;
};

// Ours, theirs, and for each dimension of ours theirs. Shapes: Dense (in, out), Linear (out, in); Keras convolutions
// (window..., in, out), torch's (out, in / groups, window...); transposed ones swap in and out in both frameworks.
const std::vector<Row>& adapter_rows() {
  constexpr std::string_view kConv1d = "Conv1d LazyConv1d ConvTranspose1d LazyConvTranspose1d";
  constexpr std::string_view kConv2d = "Conv2d LazyConv2d ConvTranspose2d LazyConvTranspose2d";
  constexpr std::string_view kConv3d = "Conv3d LazyConv3d ConvTranspose3d LazyConvTranspose3d";
  constexpr std::string_view kBatchNorm =
      "BatchNorm1d BatchNorm2d BatchNorm3d LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d SyncBatchNorm "
      "FrozenBatchNorm2d InstanceNorm1d InstanceNorm2d InstanceNorm3d";
  constexpr std::string_view kNorm = "LayerNorm GroupNorm";
  constexpr std::string_view kKerasNorm = "LayerNormalization GroupNormalization BatchNormalization";
  static const std::vector<Row>* rows = new std::vector<Row>{
      // torch's modules
      {"Linear LazyLinear NonDynamicallyQuantizableLinear", "weight", "kernel", {1, 0}},
      {"Conv1D", "weight", "kernel", {0, 1}},  // transformers' linear layer of GPT-2, (in, out)
      {kConv1d, "weight", "kernel", {2, 1, 0}},
      {kConv2d, "weight", "kernel", {3, 2, 0, 1}},
      {kConv3d, "weight", "kernel", {4, 3, 0, 1, 2}},
      {"DepthwiseConv1d", "weight", "kernel", {1, -1, 0}},  // (in * multiplier, 1, k) from (k, in, multiplier)
      {"DepthwiseConv2d", "weight", "kernel", {2, -1, 0, 1}},
      {"Embedding EmbeddingBag", "weight", "embeddings", {}},
      {kNorm, "weight", "gamma", {}},
      {kNorm, "bias", "beta", {}},
      {kBatchNorm, "weight", "gamma", {}},
      {kBatchNorm, "bias", "beta", {}},
      {kBatchNorm, "running_mean", "moving_mean", {}},
      {kBatchNorm, "running_var", "moving_variance", {}},
      {"RMSNorm", "weight", "scale", {}},
      // The first layer's forward direction; Keras has one layer for each of the others. A GRU's biases differ in rank.
      {"LSTM", "weight_ih_l0", "lstm_cell/kernel", {1, 0}},
      {"LSTM", "weight_hh_l0", "lstm_cell/recurrent_kernel", {1, 0}},
      {"LSTM", "bias_ih_l0", "lstm_cell/bias", {}},
      {"LSTM", "bias_hh_l0", "lstm_cell/bias", {}},
      {"GRU", "weight_ih_l0", "gru_cell/kernel", {1, 0}},
      {"GRU", "weight_hh_l0", "gru_cell/recurrent_kernel", {1, 0}},
      {"RNN", "weight_ih_l0", "simple_rnn_cell/kernel", {1, 0}},
      {"RNN", "weight_hh_l0", "simple_rnn_cell/recurrent_kernel", {1, 0}},
      {"RNN", "bias_ih_l0", "simple_rnn_cell/bias", {}},
      {"RNN", "bias_hh_l0", "simple_rnn_cell/bias", {}},
      {"LSTMCell GRUCell RNNCell", "weight_ih", "kernel", {1, 0}},
      {"LSTMCell GRUCell RNNCell", "weight_hh", "recurrent_kernel", {1, 0}},
      {"LSTMCell RNNCell", "bias_ih", "bias", {}},
      {"LSTMCell RNNCell", "bias_hh", "bias", {}},
      // Keras's layers
      {"Dense", "kernel", "weight", {1, 0}},
      {"Conv1D Conv1DTranspose", "kernel", "weight", {2, 1, 0}},
      {"Conv2D Conv2DTranspose", "kernel", "weight", {2, 3, 1, 0}},
      {"Conv3D Conv3DTranspose", "kernel", "weight", {2, 3, 4, 1, 0}},
      {"DepthwiseConv1D", "kernel", "weight", {2, 0, -1}},
      {"DepthwiseConv2D", "kernel", "weight", {2, 3, 0, -1}},
      {"Embedding ReversibleEmbedding", "embeddings", "weight", {}},
      {kKerasNorm, "gamma", "weight", {}},
      {kKerasNorm, "beta", "bias", {}},
      {"BatchNormalization", "moving_mean", "running_mean", {}},
      {"BatchNormalization", "moving_variance", "running_var", {}},
      {"RMSNormalization", "scale", "weight", {}},
  };
  return *rows;
}

bool lists(std::string_view types, std::string_view type) {
  while (!types.empty()) {
    const size_t end = std::min(types.find(' '), types.size());
    if (types.substr(0, end) == type) return true;
    types.remove_prefix(std::min(end + 1, types.size()));
  }
  return false;
}

}  // namespace

VariableName split_name(std::string_view name) {
  for (size_t at = name.rfind(kKerasMarker); at != std::string_view::npos; at = name.rfind(kKerasMarker, at - 1)) {
    const size_t end = at + kKerasMarker.size();
    if ((at == 0 || name[at - 1] == '.') && end < name.size()) {
      return {std::string(name.substr(0, end)), std::string(name.substr(end))};
    }
    if (at == 0) break;
  }
  return {"", replaced(name, '.', '/')};
}

std::string join_name(const VariableName& name) {
  return name.prefix.empty() ? torch_name(name.path) : name.prefix + name.path;
}

std::string canonical_path(std::string_view name) { return split_name(name).path; }

std::string torch_name(std::string_view path) { return replaced(path, '/', '.'); }

std::string canonical_module_type(std::string_view module_type) {
  const size_t last = module_type.find_last_of(".:");
  if (last != std::string_view::npos) module_type.remove_prefix(last + 1);
  if (module_type.size() > 4 && ends_with(module_type, "Impl")) module_type.remove_suffix(4);
  // Models bring norms of their own: LlamaRMSNorm, T5LayerNorm.
  if (ends_with(module_type, "RMSNorm")) return "RMSNorm";
  if (ends_with(module_type, "LayerNorm")) return "LayerNorm";
  return std::string(module_type);
}

std::vector<LeafSynonym> leaf_synonyms(std::string_view module_type, std::string_view leaf) {
  std::vector<LeafSynonym> found;
  const std::string type = canonical_module_type(module_type);
  if (type.empty()) return found;
  for (const Row& row : adapter_rows()) {
    if (row.leaf == leaf && lists(row.types, type)) found.push_back({std::string(row.synonym), row.permutation});
  }
  return found;
}

std::vector<Spelling> spellings(std::string_view path, std::string_view module_type) {
  std::vector<Spelling> found{{canonical_path(path), {}}};
  const std::string canonical = found[0].path;
  const size_t slash = canonical.rfind('/');
  const size_t start = slash == std::string::npos ? 0 : slash + 1;
  for (LeafSynonym& synonym : leaf_synonyms(module_type, std::string_view(canonical).substr(start))) {
    found.push_back({canonical.substr(0, start) + synonym.leaf, std::move(synonym.permutation)});
  }
  return found;
}

DimAxes permute_axes(const DimAxes& axes, const std::vector<int64_t>& permutation) {
  if (permutation.empty() || axes.size() != permutation.size()) return axes;
  DimAxes out(axes.size());
  std::vector<bool> taken(axes.size(), false);
  for (size_t d = 0; d < permutation.size(); ++d) {
    if (permutation[d] < 0) continue;
    out[d] = axes[permutation[d]];
    taken[permutation[d]] = true;
  }
  for (size_t d = 0; d < axes.size(); ++d) {
    TORCH_CHECK_VALUE(taken[d] || axes[d].empty(), "[W046] the layout ", printable(to_string(axes)),
                      " splits dimension ", d,
                      ", which this weight folds into another one (a depthwise kernel's multiplier); use None there");
  }
  return out;
}

}  // namespace weft
