#pragma once
// What a composite makes of a tensor's parts: of each part some values for each row, which all ranks are told.
#include <ATen/core/Tensor.h>
#include <weft/layout.h>

#include <vector>

#include "tensor/sharded.h"

namespace weft::rules {

/// A sharded tensor with dimensions of which this rank may have a part; a row is all that lies along them.
class SplitParts {
 public:
  /// `dims`: not negative. Values that are pending are reduced.
  SplitParts(const at::Tensor& whole, const std::vector<int64_t>& dims);

  Mesh mesh() const { return layout_->mesh(); }
  /// This rank's.
  const at::Tensor& part() const { return part_; }
  /// A result like the tensor, of this rank's part of it.
  at::Tensor like_whole(at::Tensor part) const { return make_sharded(std::move(part), layout_, whole_); }
  /// A result with the dimensions 1 long, of this rank's rows.
  at::Tensor of_rows(at::Tensor rows) const { return make_sharded(std::move(rows), rows_layout_, rows_); }
  /// A result of such sizes to which each rank has what its part adds.
  at::Tensor sum_of_parts(at::Tensor part, at::IntArrayRef sizes) const;
  /// Shape of this rank's rows, the dimensions 1 long.
  Sizes row_sizes() const;

  /// Whether to gather so many values for each of these rows takes no longer than so many all-reduces of one.
  bool gathering_is_cheaper(const at::Tensor& rows, int values, int reductions) const;
  /// `own`: [values, rows...], of this rank's part. Of all parts: [parts, values, rows...].
  at::Tensor gathered(const at::Tensor& own) const;
  /// How many of these parts lie before this rank's own: of a dimension in_order.
  int64_t number() const;
  /// Rows of all parts combined.
  at::Tensor reduced(const at::Tensor& rows, Reduction reduction) const;

 private:
  const std::vector<int64_t> dims_;
  Geometry whole_, rows_;
  Layout layout_ = nullptr, rows_layout_ = nullptr;
  std::vector<Split> over_;  // what splits the dimensions
  at::Tensor part_;
};

/// Whether each rank has one run of the dimension, in the order of their parts; not where it has a part of each block.
bool is_in_order(Layout layout, int64_t dim);
/// The tensor, gathered along the dimension where that is not in order.
at::Tensor in_order(const at::Tensor& whole, int64_t dim);

/// Pending reductions of tensors that lie alike, in one collective; the others as they are.
std::vector<at::Tensor> reduced_together(std::vector<at::Tensor> tensors);

}  // namespace weft::rules
