#include "plan/infer.h"

#include <ATen/ops/empty_strided.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>

#include "base/quote.h"
#include "mesh/log.h"
#include "plan/meta_kernels.h"
#include "tensor/below_autograd.h"
#include "tensor/traced.h"
#include "tensor/unreal.h"

namespace weft {
namespace {

at::Tensor meta_of(const TensorInfo& info) {
  const Geometry& g = info.geometry;
  if (info.wrapped_number) {
    // A Python number: its kernels take it on the CPU, whatever the device of the others.
    at::Tensor number = at::empty_strided({}, {}, at::TensorOptions().dtype(info.dtype)).fill_(1);
    number.unsafeGetTensorImpl()->set_wrapped_number(true);
    return number;
  }
  at::Tensor meta = at::empty_strided(g.sizes, g.strides, at::TensorOptions().dtype(info.dtype).device(at::kMeta));
  if (g.offset != 0) meta.unsafeGetTensorImpl()->set_storage_offset(g.offset);
  return meta;
}

// An op that returns nothing has what it writes as its results (plan/written.h).
void add_written(Call& call) {
  for (const TensorInfo& t : call.tensors) {
    if (t.written) call.results.push_back(ResultInfo::of_written(-1 - t.argument, t));
  }
}

// Results that are written arguments have those arguments' geometry.
bool results_are_written(Call& call) {
  for (const auto& r : call.op.results) {
    if (r.written_argument < 0) return false;
  }
  for (size_t r = 0; r < call.op.results.size(); ++r) {
    for (const TensorInfo& t : call.tensors) {
      if (t.argument != call.op.results[r].written_argument) continue;
      call.results.push_back(ResultInfo::of_written(static_cast<int>(r), t));
    }
  }
  return true;
}

std::string first_line(std::string_view text) {
  constexpr size_t kShown = 120;
  return printable(text.substr(0, text.find('\n')), kShown);
}

}  // namespace

std::vector<c10::IValue> arguments_with(const Call& call, c10::ArrayRef<c10::IValue> arguments, at::Device device,
                                        const std::function<at::Tensor(const TensorInfo&)>& made) {
  std::vector<c10::IValue> stack(arguments.begin(), arguments.end());
  size_t i = 0;
  for (size_t a = 0; a < stack.size(); ++a) {
    switch (call.op.arguments[a].kind) {
      case OpInfo::Kind::tensor: {
        const TensorInfo& info = call.tensors[i++];
        if (info.defined) {
          stack[a] = made(info);
        } else {
          stack[a] = stack[a].isNone() ? c10::IValue() : c10::IValue(at::Tensor());
        }
        break;
      }
      case OpInfo::Kind::tensor_list: {
        const bool optional = stack[a].isOptionalTensorList() && !stack[a].isTensorList();
        c10::List<at::Tensor> list;
        c10::List<std::optional<at::Tensor>> optionals;
        for (; i < call.tensors.size() && call.tensors[i].argument == static_cast<int>(a); ++i) {
          const at::Tensor tensor = call.tensors[i].defined ? made(call.tensors[i]) : at::Tensor();
          if (optional) {
            optionals.push_back(tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt);
          } else {
            list.push_back(tensor);
          }
        }
        if (!stack[a].isNone()) stack[a] = optional ? c10::IValue(std::move(optionals)) : c10::IValue(std::move(list));
        break;
      }
      case OpInfo::Kind::value:
        if (stack[a].isDevice()) stack[a] = device;
        break;
    }
  }
  return stack;
}

bool infer_results(Call& call) {
  std::string why;
  return infer_results(call, why);
}

bool infer_results(Call& call, std::string& why) {
  call.results.clear();
  const auto& declared = call.op.results;
  const bool values = std::all_of(declared.begin(), declared.end(),
                                  [](const OpInfo::Result& r) { return r.kind == OpInfo::Kind::value; });
  if (declared.empty()) add_written(call);
  if (values || (call.op.writes && results_are_written(call))) return true;
  const ForPlanning planning;
  const Unseen unseen;
  std::vector<c10::IValue> stack = arguments_with(call, call.arguments, at::kMeta, meta_of);
  try {
    BelowAutograd guard;
    const bool on_cpu = call.mesh == nullptr || call.mesh->device_type() == "cpu";
    if (!run_compiled_meta(call.op.handle, stack, on_cpu)) call.op.handle.callBoxed(&stack);
  } catch (const c10::Error& e) {
    // A view that torch refuses of the full tensor is none of a gathered copy either, whose strides are others.
    const bool refused = call.op.is_view || refuses_as_core(call.op.handle);
    if (refused && dynamic_cast<const c10::NotImplementedError*>(&e) == nullptr) throw;
    log(LogLevel::debug, "[", call.op.short_name, "] no shapes from the meta kernel: ", e.what_without_backtrace());
    why = first_line(e.what_without_backtrace());
    return false;
  } catch (const std::exception& e) {  // a kernel of Python's raises its own kind
    why = first_line(e.what());
    return false;
  }
  for (size_t r = 0; r < stack.size(); ++r) {
    if (stack[r].isTensor()) {
      call.results.push_back(ResultInfo::of(static_cast<int>(r), -1, stack[r].toTensor()));
    } else if (stack[r].isTensorList()) {
      int element = 0;
      for (const at::Tensor& t : stack[r].toTensorVector()) {
        call.results.push_back(ResultInfo::of(static_cast<int>(r), element++, t));
      }
    }
  }
  return true;
}

}  // namespace weft
