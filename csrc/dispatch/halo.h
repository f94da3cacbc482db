#pragma once
// Convolution and pooling over split dimensions: the rows that windows reach for are fetched from the ranks that hold
// them (padding is put in as rows too), the op runs on them without padding of its own, and where the result is the
// input's gradient, rows of other ranks are sent to these, which add them up.
#include <plan/plan.h>

#include "rules/op_info.h"

namespace weft {

class HaloCall {
 public:
  /// Puts into the local arguments on the stack what the op is to run on. A collective over the axes of plan.halos.
  HaloCall(const OpInfo& op, const Plan& plan, Mesh mesh, std::vector<c10::IValue>& stack);
  /// Makes of the results on the stack this rank's parts. A collective where the op is a backward.
  void finish(std::vector<c10::IValue>& stack);

 private:
  int64_t divisor(at::ScalarType dtype) const;
  /// Averages over whole windows made those over what each window has of the input (and of its padding); linear.
  at::Tensor corrected(at::Tensor averages, bool include_padding) const;
  at::Tensor global_positions(const at::Tensor& indices) const;
  at::Tensor local_positions(const at::Tensor& indices) const;

  const OpInfo& op_;
  const Plan& plan_;
  Mesh mesh_;
  size_t base_;
  enum class Kind { convolution, average, largest } kind_ = Kind::convolution;
  bool backward_ = false, correct_ = false, include_padding_ = true;
  Sizes local_, whole_;  // lengths of what the op runs on and of the whole input, the last dimension first
};

}  // namespace weft
