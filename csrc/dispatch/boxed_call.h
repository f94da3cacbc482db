#pragma once
#include <ATen/core/stack.h>

#include <utility>

#include "rules/op_info.h"

namespace weft {

/// One call of an op: its arguments are the last ones of the stack, in whose place the result comes.
class BoxedCall {
 public:
  BoxedCall(const OpInfo& op, torch::jit::Stack& stack)
      : op(op), stack_(stack), base_(stack.size() - op.arguments.size()) {}

  c10::IValue& operator[](size_t i) { return stack_[base_ + i]; }
  size_t size() const { return op.arguments.size(); }
  at::Tensor tensor(size_t i) { return (*this)[i].toTensor(); }
  /// Whether it is a tensor, and one that is there.
  bool has_tensor(size_t i) { return (*this)[i].isTensor() && tensor(i).defined(); }
  torch::jit::Stack& stack() { return stack_; }
  void finish(c10::IValue result) {
    stack_.resize(base_);
    stack_.push_back(std::move(result));
  }

  const OpInfo& op;

 private:
  torch::jit::Stack& stack_;
  const size_t base_;
};

}  // namespace weft
