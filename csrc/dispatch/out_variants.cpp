#include <ATen/ops/empty.h>
#include <c10/core/ScalarType.h>
#include <weft/tensor.h>

#include "dispatch/special.h"
#include "plan/dtypes.h"
#include "plan/gather.h"
#include "redistribute/tensors.h"
#include "rules/overloads.h"
#include "tensor/below_autograd.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

using Stack = std::vector<c10::IValue>;

// An out= op on full plain tensors; what it wrote, in order.
Stack run_out_gathered(const OpInfo& op, const Stack& stack) {
  const size_t n = op.arguments.size();
  Stack call(stack.end() - static_cast<std::ptrdiff_t>(n), stack.end()), written;
  int64_t bytes = 0;
  auto full = [&](const at::Tensor& t, bool is_written) {
    if (!t.defined()) return t;
    if (is_written) return at::empty({0}, t.options());
    if (holds_shards(t)) bytes += static_cast<int64_t>(t.nbytes());
    return full_or_alias(t);
  };
  for (size_t a = 0; a < n; ++a) {
    if (call[a].isTensor()) {
      call[a] = full(call[a].toTensor(), op.arguments[a].written);
    } else if (call[a].isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& t : call[a].toTensorVector()) list.push_back(full(t, op.arguments[a].written));
      call[a] = std::move(list);
    }
    if (op.arguments[a].written) written.push_back(call[a]);
  }
  warn_gather(op.short_name, "it has no functional counterpart", bytes);
  op.handle.callBoxed(&call);
  return written;
}

// Reductions and scans compute in the dtype of what they write, where they are given none: whether they do. Norms of
// complex numbers in the complex one of it.
bool take_dtype(const c10::FunctionSchema& functional, at::ScalarType out, Stack& call) {
  const std::optional<int> dtype = functional.argumentIndexWithName("dtype");
  if (!dtype || !call[*dtype].isNone()) return false;
  const std::optional<at::ScalarType> in =
      call[0].isTensor() ? std::optional(call[0].toTensor().scalar_type()) : std::nullopt;
  call[*dtype] = in && at::isComplexType(*in) && at::isFloatingType(out) ? at::toComplexType(out) : out;
  return in != out;
}

}  // namespace

void run_out(const OpInfo& op, Stack& stack) {
  const size_t n = op.arguments.size(), base = stack.size() - n;
  std::vector<at::Tensor> outs;
  Stack call;
  for (size_t a = 0; a < n; ++a) {
    if (!op.arguments[a].written || !op.schema().arguments()[a].kwarg_only()) {
      call.push_back(stack[base + a]);
    } else if (stack[base + a].isTensorList()) {
      for (const at::Tensor& t : stack[base + a].toTensorVector()) outs.push_back(t);
    } else {
      outs.push_back(stack[base + a].toTensor());
    }
  }
  const auto functional = rules::functional_of(op.schema());
  BelowAutograd guard;
  bool other_dtype = false;
  if (functional) {
    if (outs.size() == 1) other_dtype = take_dtype(functional->schema(), outs[0].scalar_type(), call);
    functional->callBoxed(&call);
  } else {
    call = run_out_gathered(op, stack);
  }
  std::vector<at::Tensor> results;
  for (const c10::IValue& v : call) {
    if (v.isTensor()) results.push_back(v.toTensor());
    if (v.isTensorList()) {
      for (const at::Tensor& t : v.toTensorVector()) results.push_back(t);
    }
  }
  TORCH_INTERNAL_ASSERT(results.size() == outs.size());
  for (size_t i = 0; i < outs.size(); ++i) other_dtype |= results[i].scalar_type() != outs[i].scalar_type();
  if (other_dtype) check_out_dtypes(op, c10::ArrayRef<c10::IValue>(stack).slice(base, n));
  for (size_t i = 0; i < outs.size(); ++i) {
    at::Tensor& out = outs[i];
    TORCH_CHECK(c10::canCast(results[i].scalar_type(), out.scalar_type()), "[W068] [", op.short_name, "] result type ",
                results[i].scalar_type(), " can't be cast to the desired output type ", out.scalar_type());
    if (!out.sizes().equals(results[i].sizes())) {
      if (holds_shards(out)) {
        TORCH_CHECK_VALUE(out.numel() == 0, "[W061] [", op.short_name, "] out= has shape ", out.sizes(),
                          " and the result ", results[i].sizes(), "; a sharded tensor cannot be resized");
        const Layout replicated = TensorLayout::replicated(sharded(out).layout()->mesh(), results[i].dim());
        at::Tensor result = results[i].to(out.scalar_type());
        if (!holds_shards(result)) result = make_sharded(result, replicated, geometry_of(result));
        sharded(out).swap_impl(sharded(result));
        continue;
      }
      out.resize_(results[i].sizes());
    }
    out.copy_(results[i]);
  }
  // Results are the written arguments, as they came.
  c10::SmallVector<c10::IValue, 3> back;
  for (const auto& r : op.results) {
    if (r.written_argument >= 0) back.push_back(stack[base + r.written_argument]);
  }
  stack.erase(stack.end() - static_cast<std::ptrdiff_t>(n), stack.end());
  stack.insert(stack.end(), back.begin(), back.end());
}

}  // namespace weft
