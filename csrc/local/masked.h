#pragma once
// Ops with a split dimension that other operands index: indices shifted to the shard, what lies outside masked.
#include <cstdint>
#include <utility>
#include <vector>

#include "local/local_call.h"

namespace weft {

/// The results hold this shard's part of a sum over the axes that split the indexed dimension.
class MaskedCall final : public LocalCall {
 public:
  struct Table {
    int argument;
    int64_t dim;
  };
  struct Recipe {
    int index = -1;             // the argument with the indices
    int element = -1;           // and the entry of it, where that is a list
    int ignored = -1;           // the argument with the index that is left out; -1: zeros at others' indices
    bool wraps = false;         // negative indices count from the end
    bool reads = true;          // false: the whole result has no elements, and core looks at no index
    int64_t after = 0;          // dimensions of the result behind the indices'
    std::vector<Table> tables;  // arguments that are read at the indices, and the dimension that is
  };
  /// The shard holds the `length` places from `offset` on, of `global_size`.
  MaskedCall(Recipe recipe, int64_t offset, int64_t length, int64_t global_size)
      : recipe_(std::move(recipe)), offset_(offset), length_(length), global_size_(global_size) {}
  /// Raises IndexError, on the rank that has it, for an index outside the full tensor (not on a GPU).
  void run(const OpInfo& op, Mesh mesh, std::vector<c10::IValue>& stack) const override;

 private:
  struct Shifted;
  void check_range(const OpInfo& op, const at::Tensor& index, const at::Tensor& ignored) const;
  Shifted shift(const OpInfo& op, const at::Tensor& index, const at::Tensor& ignored = {}) const;
  void run_shifted(const OpInfo& op, std::vector<c10::IValue>& stack) const;

  const Recipe recipe_;
  const int64_t offset_, length_, global_size_;
};

}  // namespace weft
