#pragma once
// Reading a composite's arguments by position and leaving its results.
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace weft::rules {

class Arguments {
 public:
  Arguments(const c10::OperatorHandle& op, std::vector<c10::IValue>& stack)
      : stack_(stack), count_(op.schema().arguments().size()), base_(stack.size() - count_) {}

  const c10::IValue& operator[](size_t i) const { return stack_[base_ + i]; }
  at::Tensor tensor(size_t i) const { return (*this)[i].isTensor() ? (*this)[i].toTensor() : at::Tensor(); }
  /// An int or int list; empty where None.
  std::vector<int64_t> ints(size_t i) const {
    if ((*this)[i].isInt()) return {(*this)[i].toInt()};
    return (*this)[i].isIntList() ? (*this)[i].toIntVector() : std::vector<int64_t>();
  }
  std::optional<at::ScalarType> dtype(size_t i) const {
    return (*this)[i].isNone() ? std::nullopt : std::make_optional((*this)[i].toScalarType());
  }
  template <class... Results>
  void finish(Results&&... results) {
    stack_.resize(base_);
    (stack_.emplace_back(std::forward<Results>(results)), ...);
  }

 private:
  std::vector<c10::IValue>& stack_;
  size_t count_, base_;
};

/// The dimensions meant: wrapped, ascending, all where none are given.
inline std::vector<int64_t> wrapped_dims(std::vector<int64_t> dims, int64_t ndim) {
  if (ndim == 0) return {};
  for (int64_t& d : dims) d += d < 0 ? ndim : 0;
  if (dims.empty()) {
    for (int64_t d = 0; d < ndim; ++d) dims.push_back(d);
  }
  std::sort(dims.begin(), dims.end());
  return dims;
}

/// Half precision is accumulated in float, as core's kernels do.
inline at::ScalarType accumulation_type(at::ScalarType t) {
  return t == at::kHalf || t == at::kBFloat16 ? at::kFloat : t;
}
inline at::Tensor accumulated(const at::Tensor& t) { return t.to(accumulation_type(t.scalar_type())); }

}  // namespace weft::rules
