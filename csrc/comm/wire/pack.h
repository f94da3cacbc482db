#pragma once
// Between shards and the flat buffers that travel: at most one copy on each side, none where the memory already lies
// right. Internal to comm/.
#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <vector>

#include "layout/shard.h"

namespace weft::comm {

/// A tensor seen in the order in which its data travels (its dimensions permuted), and the way back.
class Wire {
 public:
  /// `order` as in collectives.h.
  Wire(const at::Tensor& input, c10::IntArrayRef order);
  const at::Tensor& tensor() const { return tensor_; }
  /// Where dimension `dim` of the input is in tensor().
  int64_t dim(int64_t dim) const { return order_.empty() ? dim : position_[dim]; }
  /// An uninitialised result of those sizes (in wire order), with the strides that the caller is to see.
  at::Tensor empty_result(c10::IntArrayRef sizes, c10::ScalarType dtype) const;
  /// A tensor in wire order as the caller sees it; copied only where its strides are not those of a result.
  at::Tensor result(at::Tensor tensor) const;
  /// The same as `result`, for a tensor from empty_result.
  at::Tensor unpermuted(const at::Tensor& tensor) const;

 private:
  at::Tensor tensor_;
  Sizes order_, position_;  // position_ inverts order_
  Sizes strides_from_;      // dimensions of a result from the outermost in memory; empty: row-major on the wire
};

/// Row-major data without a lazy conjugation or negation; the tensor itself where it is so.
at::Tensor plain_contiguous(const at::Tensor& tensor);

/// The pieces of `input` along `dim`, lengths[i] each, one after the other (in order of `sequence`, if it is not empty)
/// and each row-major. With `padded` > 0 each piece takes that many elements. A view of `input` where it lies so.
at::Tensor pack(const at::Tensor& input, int64_t dim, const std::vector<int64_t>& lengths,
                const std::vector<int64_t>& sequence, int64_t padded = 0);

/// The inverse: `flat` holds n row-major pieces, piece p at element offsets[p], of the sizes `sizes` but for lengths[p]
/// along `dim`; returned concatenated along `dim` in the given order, as wire.result() would.
at::Tensor unpack(const Wire& wire, const at::Tensor& flat, c10::IntArrayRef sizes, int64_t dim,
                  const std::vector<int64_t>& lengths, const std::vector<int64_t>& offsets);

int64_t product(c10::IntArrayRef sizes);
/// Elements of a tensor of `sizes` for each index of `dim`.
int64_t row_elements(c10::IntArrayRef sizes, int64_t dim);

}  // namespace weft::comm
