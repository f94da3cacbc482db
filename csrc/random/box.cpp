#include "random/box.h"

namespace weft::random {
namespace {

void append(Box& box, int64_t size, int64_t index_stride, const int64_t (&stride)[Box::kMaxOperands]) {
  const int last = box.dims - 1;
  bool merges = last >= 0 && box.index_stride[last] == size * index_stride;
  for (int k = 0; merges && k < Box::kMaxOperands; ++k) merges = box.stride[k][last] == size * stride[k];
  TORCH_CHECK_NOT_IMPLEMENTED(merges || box.dims < Box::kMaxDims, "[W070] random values for a shard of more than ",
                              Box::kMaxDims, " dimensions are not supported; reshape it to fewer");
  const int d = merges ? last : box.dims++;
  box.size[d] = merges ? box.size[d] * size : size;
  box.index_stride[d] = index_stride;
  for (int k = 0; k < Box::kMaxOperands; ++k) box.stride[k][d] = stride[k];
}

}  // namespace

std::vector<Box> boxes(const GlobalIndex& index, c10::ArrayRef<at::Tensor> operands) {
  const at::Tensor& shard = operands.front();
  const auto dims = static_cast<size_t>(shard.dim());
  TORCH_INTERNAL_ASSERT(index.dims.size() == dims && index.global_sizes.size() == dims);
  TORCH_INTERNAL_ASSERT(operands.size() <= size_t{Box::kMaxOperands});
  std::vector<Box> result;
  if (shard.numel() == 0) return result;

  Sizes index_stride(dims, 1);
  for (size_t d = dims; d-- > 1;) index_stride[d - 1] = index_stride[d] * index.global_sizes[d];
  for (size_t d = 0; d < dims; ++d) {
    int64_t length = 0;
    for (const IndexRange& range : index.dims[d]) length += range.length;
    TORCH_INTERNAL_ASSERT(length == shard.size(d));
  }

  std::vector<size_t> choice(dims, 0);  // one range of each dimension
  Sizes local(dims, 0);                 // where it starts in the shard
  const auto next = [&] {
    for (size_t d = dims; d-- > 0;) {
      local[d] += index.dims[d][choice[d]].length;
      if (++choice[d] < index.dims[d].size()) return true;
      choice[d] = 0;
      local[d] = 0;
    }
    return false;
  };
  do {
    Box box;
    for (size_t d = 0; d < dims; ++d) {
      const IndexRange& range = index.dims[d][choice[d]];
      int64_t stride[Box::kMaxOperands] = {};
      for (size_t k = 0; k < operands.size(); ++k) {
        stride[k] = operands[k].stride(static_cast<int64_t>(d));
        box.offset[k] += local[d] * stride[k];
      }
      box.index += range.start * index_stride[d];
      box.numel *= range.length;
      if (range.length > 1) append(box, range.length, index_stride[d], stride);
    }
    if (box.dims == 0 || box.index_stride[box.dims - 1] != 1) append(box, 1, 1, {0, 0, 0});
    if (box.numel > 0) result.push_back(box);
  } while (next());
  return result;
}

}  // namespace weft::random
