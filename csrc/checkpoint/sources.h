#pragma once
// What a save has to write: each tensor once, sorted by groups.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/contents.h"

namespace weft::checkpoint {

struct Source {
  size_t group, tensor;  // in Contents
  at::Tensor value;
};

/// Fills in the groups: tensors with their names, dtypes, shapes and layouts, and other names of them. Raises
/// ValueError for a tensor or a name that cannot be saved.
std::vector<Source> sort_out(const std::vector<Item>& items, Contents& contents);

/// All that must be the same on all ranks.
std::vector<int64_t> facts(const std::string& folder, const Contents& contents, const std::vector<Source>& sources);

/// The states of random streams as one more group. Those of rank 0 are saved, whatever the others have.
void add_random_state(Contents& contents, std::vector<Source>& sources);

}  // namespace weft::checkpoint
