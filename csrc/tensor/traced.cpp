#include "tensor/traced.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/logical_not.h>
#include <ATen/ops/logical_or.h>

#include "tensor/sharded.h"

namespace weft {

void take_nothing(const at::Tensor& target, const at::Tensor& value) {
  if (!is_traced(value)) return;
  target.as_strided({0}, {1}).copy_(value.reshape({-1}).narrow(0, 0, 0));
}

at::Tensor filled_like(const at::Tensor& value, int64_t number) {
  if (!is_traced(value)) return at::full_like(value, number);
  // Of nothing but the value: what is made anew while a program is functionalized may not be written to what it is
  // given.
  const at::Tensor is_number = value.eq(value);
  return value.masked_fill(is_number.logical_or(is_number.logical_not()), number);
}

at::Tensor for_program(const at::Tensor& tensor) {
  if (C10_LIKELY(!holds_shards(tensor) || !is_traced(sharded(tensor).local()) || is_traced(tensor))) return tensor;
  // Its kernel is the Python package's.
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("weft::_as_traced", "").typed<at::Tensor(const at::Tensor&)>();
  return op.redispatch(c10::DispatchKeySet(kKey), tensor);
}

}  // namespace weft
