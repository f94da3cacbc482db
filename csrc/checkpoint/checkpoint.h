#pragma once
// Saving and loading groups of named tensors. The public names are in <weft/checkpoint.h>.
#include <ATen/core/Tensor.h>
#include <weft/checkpoint.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/contents.h"

namespace weft::checkpoint {

// What all ranks agree on.
constexpr const char* kSaving =
    "save: what is saved (names, shapes, dtypes, layouts, values of plain tensors) and where";
constexpr const char* kLoading = "load: what is to be filled (names, layouts) and from where";

struct Item {
  std::string group, name;
  at::Tensor tensor;
};

/// Saves the tensors in the background. Those of a group are in one list or several files of their own; other names of
/// a tensor that is there already are kept as such. All ranks call it alike.
/// @param values  JSON, kept as it is
/// @param wait    on return all is on the disk, and no memory was needed for a copy
PendingSave save(const std::string& folder, const std::vector<Item>& items, const std::string& values,
                 std::optional<int64_t> step, bool wait);

/// A module's parameters and buffers by their names.
NamedTensors variables_of(const torch::nn::Module& module);

struct Target : Item {
  bool has_value = true;  // which stays as it is where anything is wrong with the checkpoint
};
struct Loaded {
  std::vector<std::string> missing, unexpected;  // names; with `strict` both are empty
};
/// What the folder holds, the same on all ranks.
Contents open(const std::string& folder);
/// Reads tensors of what `open` found. Every stored tensor of the targets' groups should be among them.
Loaded load(const std::string& folder, const Contents& contents, const std::vector<Target>& targets, bool strict);
/// Sets the generators of random numbers to where they were on rank 0 when it was saved. Raises ValueError where it is
/// a folder of others.
void load_random_state(const std::string& folder, const Contents& contents);

}  // namespace weft::checkpoint
