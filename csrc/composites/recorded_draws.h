#pragma once
// Draws by global index as a compiler records them: a key, which a program draws each time that it runs, and this
// rank's values, a function of the key alone.
#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <string>
#include <vector>

#include "random/random.h"
#include "rules/op_info.h"

namespace weft {

/// The key of one draw, from the device's own generator: one int64 on the CPU.
at::Tensor drawn_key(at::Device device);

/// Follows from all keys that this thread has drawn so: ranks compare it where they enter the next program.
uint64_t drawn_so_far();

/// What a sampler is given, as an op can have it.
struct RecordedDraw {
  std::string op, overload;
  std::vector<at::Scalar> numbers;  // among the op's arguments, and their places there
  std::vector<int64_t> number_places;
  std::vector<at::Tensor> tensors;  // the same
  std::vector<int64_t> tensor_places;
  std::vector<int64_t> ranges;  // for each dimension how many, then the start and the length of each
};

/// Fills `out`, this rank's part of a tensor of those global sizes.
void fill_drawn(at::Tensor& out, const at::Tensor& key, const RecordedDraw& draw, const Sizes& global_sizes);

/// The whole tensor in torch's own stream, as the op that `draw` names writes it where it is.
at::Tensor replayed(const RecordedDraw& draw, c10::IntArrayRef sizes, c10::IntArrayRef strides,
                    const at::TensorOptions& options);

/// Records the in-place op in replay mode, on a tensor like `whole`: functionalized, core's op would write another one,
/// whose dimensions lie in another order.
at::Tensor record_replay(const OpInfo& op, const std::vector<c10::IValue>& arguments, const at::Tensor& whole);

/// Records what the op's sampler would fill a part like `local` with.
at::Tensor record_draw(const OpInfo& op, const std::vector<c10::IValue>& arguments, const random::GlobalIndex& index,
                       const at::Tensor& local);

}  // namespace weft
