#include "plan/dtypes.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/function.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "plan/bind_first.h"
#include "plan/infer.h"
#include "rules/op_info.h"
#include "tensor/below_autograd.h"
#include "tensor/traced.h"
#include "tensor/unreal.h"

namespace weft {
namespace {

using Dtypes = std::vector<at::ScalarType>;  // parallel to Call::tensors

constexpr int64_t kMost = 1 << 16;  // elements that a try may take

bool is_inexact(at::ScalarType dtype) { return at::isFloatingType(dtype) || at::isComplexType(dtype); }

// Only core's own kernels are called that compute, draw nothing and tell no values: nobody sees that they ran. In
// backward core's formulas see to the dtypes, and those of what forward keeps for itself are not what meta kernels
// tell.
bool is_tried(const Call& call) {
  const OpInfo& op = call.op;
  return torch::autograd::get_current_node() == nullptr && call.mesh->device_type() == "cpu" && op.special == nullptr &&
         !op.is_view && !op.is_out && !op.is_foreach && !op.random && !op.tells && !op.uninitialized &&
         op.handle.operator_name().getNamespace() == "aten";
}

// Operands of few elements for which the op is as it is for the call's, of equal values.
struct Small {
  int64_t value;     // zero where it must index, or one where it must divide
  int64_t shortest;  // length of a factor that may have any
  std::vector<std::vector<int64_t>> sizes;
  std::vector<c10::IValue> arguments;
  int64_t numel = 0;
};

Call with_dtypes(const Call& call, const Dtypes& dtypes) {
  Call other = call;
  for (size_t i = 0; i < dtypes.size(); ++i) other.tensors[i].dtype = dtypes[i];
  return other;
}

std::vector<int64_t> short_sizes(const rules::BoundRule& bound, const rules::BoundRule::Tensor& tensor,
                                 const Geometry& geometry, int64_t shortest) {
  std::vector<int64_t> sizes(geometry.sizes.begin(), geometry.sizes.end());
  for (size_t d = 0; d < sizes.size() && d < tensor.dims.size() && tensor.ruled; ++d) {
    int64_t whole = 1, length = 1;
    for (int f : tensor.dims[d]) {
      const auto& factor = bound.factors[f];
      whole *= factor.size;
      length *= factor.whole || factor.halo ? factor.size : std::min(factor.size, shortest);
    }
    if (!tensor.dims[d].empty() && whole == sizes[d])
      sizes[d] = length;  // else it is broadcast, or cut by what is not a length
  }
  return sizes;
}

void shorten(const Call& call, const rules::BoundRule& bound, Small& small) {
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    small.sizes[i] = short_sizes(bound, bound.tensors[i], call.tensors[i].geometry, small.shortest);
  }
  for (const auto& l : bound.localized) {
    if (l.argument < 0) continue;
    int64_t length = 1;
    for (int f : l.factors) length *= std::min(std::max<int64_t>(bound.factors[f].size, 0), small.shortest);
    c10::IValue& argument = small.arguments[l.argument];
    if (l.entry < 0 && argument.isInt()) argument = length;
    if (l.entry < 0 || !argument.isIntList()) continue;
    std::vector<int64_t> list = argument.toIntVector();
    if (static_cast<size_t>(l.entry) < list.size()) list[l.entry] = length;
    argument = std::move(list);
  }
  if (bound.sizes_argument >= 0) {
    small.arguments[bound.sizes_argument] =
        short_sizes(bound, bound.results[0], call.results[0].geometry, small.shortest);
  }
}

// By the op's rule, as it is bound for dtypes that its shapes are told for; as it is, where there is none.
Small small_of(const Call& call, const Dtypes& own, const std::vector<std::vector<Dtypes>>& others, int64_t value,
               int64_t shortest) {
  Small small{.value = value, .shortest = shortest, .sizes = {}, .arguments = call.arguments.vec()};
  for (const TensorInfo& t : call.tensors) small.sizes.emplace_back(t.geometry.sizes.begin(), t.geometry.sizes.end());
  std::vector<Dtypes> tries{own};
  for (const auto& group : others) tries.insert(tries.end(), group.begin(), group.end());
  for (const Dtypes& dtypes : tries) {
    Call other = with_dtypes(call, dtypes);
    rules::BoundRule bound;
    std::string why;
    if (!infer_results(other) || !bind_first(other, bound, why)) continue;
    if (bound.strides_argument < 0) shorten(other, bound, small);
    break;
  }
  for (const auto& sizes : small.sizes) small.numel += c10::multiply_integers(sizes);
  return small;
}

// What the kernel raises; null: nothing.
std::exception_ptr tried(const Call& call, const Small& small, const Dtypes& dtypes) {
  const ForPlanning planning;
  const Unseen unseen;
  const BelowAutograd below;
  const at::RecordFunctionGuard not_recorded(false);
  size_t i = 0;
  std::vector<c10::IValue> stack = arguments_with(call, small.arguments, at::kCPU, [&](const TensorInfo& info) {
    while (&call.tensors[i] != &info) ++i;  // past those that are absent
    at::Tensor full = at::full(small.sizes[i], small.value, at::TensorOptions().dtype(dtypes[i]).device(at::kCPU));
    if (call.tensors[i++].wrapped_number) full.unsafeGetTensorImpl()->set_wrapped_number(true);
    return full;
  });
  try {
    call.op.handle.callBoxed(&stack);
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

std::string text_of(const std::exception_ptr& raised) {
  try {
    std::rethrow_exception(raised);
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  } catch (const std::exception& error) {
    return error.what();
  }
}

// The same operands of dtypes with which the op may run: all floats of one dtype, all of it, one of them indices.
std::vector<Dtypes> others_of(const Dtypes& own, at::ScalarType dtype) {
  auto made = [&](auto&& of) {
    Dtypes all;
    for (size_t i = 0; i < own.size(); ++i) all.push_back(of(i));
    return all;
  };
  const auto usual = [&](size_t i) { return is_inexact(own[i]) ? dtype : own[i] == at::kBool ? own[i] : at::kLong; };
  std::vector<Dtypes> others{made(usual), made([&](size_t) { return dtype; })};
  for (size_t k = 0; k < own.size(); ++k) {
    others.push_back(made([&](size_t i) { return i == k ? at::kLong : usual(i); }));
  }
  return others;
}

// For each float dtype among them; of other numbers alone as if they were to be floats.
std::vector<std::vector<Dtypes>> others_of(const Dtypes& own) {
  std::vector<at::ScalarType> floats;
  for (at::ScalarType dtype : own) {
    if (is_inexact(dtype) && std::find(floats.begin(), floats.end(), dtype) == floats.end()) floats.push_back(dtype);
  }
  if (floats.empty()) floats.push_back(at::kFloat);
  std::vector<std::vector<Dtypes>> all;
  for (at::ScalarType dtype : floats) all.push_back(others_of(own, dtype));
  return all;
}

// Ops with their operands' dtypes that ran, in this process.
class Ran {
 public:
  bool has(const std::string& key) {
    std::lock_guard<std::mutex> lock(mutex_);
    return ran_.count(key) != 0;
  }
  void add(std::string key) {
    std::lock_guard<std::mutex> lock(mutex_);
    ran_.insert(std::move(key));
  }

 private:
  std::mutex mutex_;
  std::unordered_set<std::string> ran_;
};

}  // namespace

void check_dtypes(const Call& call) {
  static Ran* const ran = new Ran();
  if (!is_tried(call)) return;
  Dtypes own;
  std::string key = call.op.name;
  for (const TensorInfo& t : call.tensors) {
    own.push_back(t.dtype);
    key += t.defined ? static_cast<char>('A' + static_cast<int>(t.dtype)) : '-';
  }
  if (ran->has(key)) return;
  const std::vector<std::vector<Dtypes>> others = others_of(own);
  const Small zeros = small_of(call, own, others, 0, 2), ones = small_of(call, own, others, 1, 3);
  if (ones.numel > kMost) return;
  const auto runs = [&](const Dtypes& dtypes) {
    return tried(call, zeros, dtypes) == nullptr || tried(call, ones, dtypes) == nullptr;
  };
  const std::exception_ptr of_zeros = tried(call, zeros, own);
  const std::exception_ptr of_ones = of_zeros == nullptr ? nullptr : tried(call, ones, own);
  if (of_ones == nullptr) return ran->add(std::move(key));
  // It is the dtypes where that is said whatever values and sizes are, and where with each of the floats' the op runs.
  if (text_of(of_zeros) != text_of(of_ones)) return;
  const bool dtypes_differ = std::all_of(others.begin(), others.end(), [&](const std::vector<Dtypes>& group) {
    return std::any_of(group.begin(), group.end(), [&](const Dtypes& other) { return other != own && runs(other); });
  });
  if (dtypes_differ) std::rethrow_exception(of_ones);
}

namespace {

// What an out= kernel raises of a few ones of the operands' own dtypes, or all of that one; null: nothing.
std::exception_ptr tried_out(const Call& call, std::optional<at::ScalarType> dtype) {
  std::vector<c10::IValue> stack = arguments_with(call, call.arguments, at::kCPU, [&](const TensorInfo& info) {
    const auto options = at::TensorOptions().dtype(dtype.value_or(info.dtype)).device(at::kCPU);
    if (info.written) return at::empty({0}, options);
    std::vector<int64_t> sizes;
    for (const int64_t size : info.geometry.sizes) sizes.push_back(std::min<int64_t>(size, 2));
    at::Tensor few = at::full(sizes, 1, options);
    if (info.wrapped_number) few.unsafeGetTensorImpl()->set_wrapped_number(true);
    return few;
  });
  try {
    call.op.handle.callBoxed(&stack);
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

}  // namespace

void check_out_dtypes(const OpInfo& op, c10::ArrayRef<c10::IValue> arguments) {
  const Call call = Call::of(op, arguments);
  if (op.random || call.mesh == nullptr || call.mesh->device_type() != "cpu") return;
  if (op.handle.operator_name().getNamespace() != "aten") return;
  const ForPlanning planning;
  const Unseen unseen;
  const BelowAutograd below;
  const at::RecordFunctionGuard not_recorded(false);
  const auto out =
      std::find_if(call.tensors.begin(), call.tensors.end(), [](const TensorInfo& t) { return t.written; });
  const std::exception_ptr raised = tried_out(call, std::nullopt);
  if (raised == nullptr || tried_out(call, out->dtype) != nullptr) return;
  try {
    std::rethrow_exception(raised);
  } catch (const c10::NotImplementedError&) {
    TORCH_CHECK_NOT_IMPLEMENTED(false, "[W068] [", op.short_name, "] ", text_of(raised));
  } catch (...) {
    TORCH_CHECK(false, "[W068] [", op.short_name, "] ", text_of(raised));
  }
}

}  // namespace weft
