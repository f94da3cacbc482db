#pragma once
// Sparse tensors beside sharded ones. They are never sharded: one made of sharded parts (the gradient of an embedding
// with sparse=True) is a plain one of all rows, the same on every rank; what it is added to takes the rows of its
// shard.
#include <torch/library.h>

#include <memory>
#include <vector>

namespace weft {

/// Registers what sparse and sharded tensors can do together; all else is refused. `libraries` keeps the registrations.
void register_sparse(std::vector<std::unique_ptr<torch::Library>>& libraries);

}  // namespace weft
