#pragma once
// Random values by global index: element i of the full tensor is a function of Philox4x32-10(key, i), so a value does
// not depend on the layout. A random op draws exactly one 64-bit key from its generator, on every rank, whatever the
// shape. formulas.h has the exact value of each element.
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/operator_name.h>
#include <ATen/core/stack.h>

#include <optional>
#include <vector>

#include "layout/shard.h"

namespace weft::random {

/// One key from the generator (none: the device's default), under its mutex. CPU: one random64(). CUDA: a hash of the
/// seed and the offset, which moves on by one fixed step (so not while a CUDA graph is captured). Meta: nothing drawn.
uint64_t draw_key(const std::optional<at::Generator>& generator, at::Device device);

/// Where the elements of a shard lie in the full tensor.
struct GlobalIndex {
  Sizes global_sizes;
  std::vector<std::vector<IndexRange>> dims;  // per dimension, see local_indices()
};

/// How an op fills a tensor with random values.
struct Sampler {
  /// Fills `out` (the shard, any strides). `args` are the op's arguments in schema order, tensors among them already
  /// the local shards in out's layout, of its sizes or broadcast to them. Raises what the op itself raises on bad
  /// parameters (p outside [0, 1], ...), for empty shards too; bad values in a tensor parameter are seen only by the
  /// ranks that hold them.
  void (*fill)(at::Tensor& out, const GlobalIndex& index, c10::ArrayRef<c10::IValue> args, uint64_t key);
  /// Index of the op's generator argument; -1: none.
  int generator;
  /// Whether core's kernel on a CPU draws value after value in memory order, so that the full tensor can be drawn in
  /// pieces.
  bool in_order = false;
};

/// The sampler of an aten op that does nothing but fill its result (or self, in place) with random values:
/// uniform_, rand_like, bernoulli(_), normal_, randn_like, randint_like, random_, exponential_, ...; null for others.
const Sampler* find_sampler(const c10::OperatorName& name);

/// The op's own generator, or the device's.
at::Generator generator_of(const std::optional<at::Generator>& given, at::Device device);

/// Makes what was drawn, or where from, a part of the running op's identity: ranks whose generators have come apart
/// draw other values.
void note_drawn(uint64_t word);

}  // namespace weft::random
