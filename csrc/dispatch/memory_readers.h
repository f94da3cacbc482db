#pragma once
// Ops of core that are made of others, but read the memory of a tensor on the way: that tensor is gathered for them, or
// they run whole on every rank.
#include <c10/util/ArrayRef.h>
#include <torch/library.h>

#include <atomic>
#include <memory>
#include <vector>

namespace weft {

/// Registers them; `libraries` keeps the registrations. `gathered` run on the full tensor, of `read_lengths` the
/// lengths alone are gathered, and few more have kernels of their own.
void register_memory_readers(std::vector<std::unique_ptr<torch::Library>>& libraries,
                             c10::ArrayRef<const char*> gathered, c10::ArrayRef<const char*> read_lengths);

/// Whether `plain.data = sharded` of Python makes the object sharded, before core is asked. Else, as in C++, it is an
/// error.
extern std::atomic<bool> python_sets_data;

}  // namespace weft
