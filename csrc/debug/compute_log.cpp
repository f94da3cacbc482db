#include "debug/compute_log.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "debug/memory_log.h"
#include "tensor/sharded.h"
#include "tensor/unreal.h"

namespace weft {
namespace {

struct ComputeLog {
  at::CallbackHandle handle = 0;
  ComputedOps ops;
  std::unordered_map<std::string, size_t> places;
};
thread_local std::unique_ptr<ComputeLog> compute_log;
thread_local bool inside_an_op = false;  // what a kernel calls is its own affair

// An op that is in the record, until its results are there.
struct OpenOp final : at::ObserverContext {
  std::string call;
  int64_t memory = memory_log_length();  // where its rows begin
};

void describe(std::string& text, const at::Tensor& t) {
  if (!t.defined()) {
    text += "null";
    return;
  }
  int64_t bytes = static_cast<int64_t>(t.element_size());
  const char* before = "{\"shape\":[";
  for (int64_t d = 0; d < t.dim(); ++d) {
    text.append(before).append(std::to_string(t.size(d)));
    before = ",";
    bytes *= t.stride(d) == 0 ? 1 : t.size(d);  // what is expanded lies there once
  }
  if (t.dim() == 0) text += before;
  text.append("],\"bytes\":").append(std::to_string(bytes));
  if (!t.is_contiguous()) {
    before = ",\"strides\":[";
    for (int64_t d = 0; d < t.dim(); ++d) {
      text.append(before).append(std::to_string(t.stride(d)));
      before = ",";
    }
    text += ']';
  }
  text += '}';
}

void describe(std::string& text, const c10::IValue& v) {
  if (v.isTensor()) {
    describe(text, v.toTensor());
  } else if (v.isInt()) {
    text += std::to_string(v.toInt());
  } else if (v.isBool()) {
    text += v.toBool() ? "true" : "false";
  } else if (v.isList()) {
    text += '[';
    for (const c10::IValue& item : v.toListRef()) {
      describe(text, item);
      text += ',';
    }
    if (text.back() == ',') text.pop_back();
    text += ']';
  } else {
    text += "null";
  }
}

void describe_all(std::string& text, c10::ArrayRef<const c10::IValue> values) {
  const char* before = "[";
  for (const c10::IValue& v : values) {
    describe(text += before, v);
    before = ",";
  }
  text += values.empty() ? "[]" : "]";
}

bool any_sharded(const c10::IValue& v) {
  if (v.isTensor()) return v.toTensor().defined() && holds_shards(v.toTensor());
  if (!v.isList()) return false;
  const auto items = v.toListRef();
  return std::any_of(items.begin(), items.end(), [](const c10::IValue& item) { return any_sharded(item); });
}

// Its result is one of its operands' memory, which it does not write.
bool is_view(const c10::FunctionSchema& schema) {
  for (const c10::Argument& result : schema.returns()) {
    if (result.alias_info() != nullptr && !result.alias_info()->isWrite()) return true;
  }
  return false;
}

std::unique_ptr<at::ObserverContext> op_begins(const at::RecordFunction& fn) {
  if (inside_an_op || ForPlanning::holds()) return nullptr;
  const auto name = fn.operator_name();
  const auto op = name ? c10::Dispatcher::singleton().findSchema(*name) : std::nullopt;
  if (!op || op->hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd)) return nullptr;
  const auto inputs = fn.inputs();  // of a boxed call all that lies on the stack
  const size_t arguments = op->schema().arguments().size();
  if (inputs.size() < arguments || is_view(op->schema())) return nullptr;
  const auto own = inputs.slice(inputs.size() - arguments);
  if (std::any_of(own.begin(), own.end(), [](const c10::IValue& v) { return any_sharded(v); })) return nullptr;
  auto open = std::make_unique<OpenOp>();
  open->call = "{\"op\":\"" + name->name + "\",\"overload\":\"" + name->overload_name + "\",\"args\":";
  describe_all(open->call, own);
  inside_an_op = true;
  return open;
}

void op_ends(const at::RecordFunction& fn, at::ObserverContext* context) {
  if (context == nullptr) return;
  inside_an_op = false;
  memory_log_drop_temporaries(static_cast<OpenOp*>(context)->memory);
  if (compute_log == nullptr) return;
  std::string& call = static_cast<OpenOp*>(context)->call;
  const auto name = fn.operator_name();
  const auto& outputs = fn.outputs();  // of a boxed call all that lies on the stack
  const size_t results = c10::Dispatcher::singleton().findSchema(*name)->schema().returns().size();
  const c10::ArrayRef<const c10::IValue> all(outputs.data(), outputs.size());
  describe_all(call += ",\"results\":", all.slice(all.size() - std::min(results, all.size())));
  const auto [place, first] = compute_log->places.try_emplace(call += '}', compute_log->ops.size());
  if (first) compute_log->ops.push_back({place->first, {}});
  compute_log->ops[place->second].ends.push_back(memory_log_length());
}

}  // namespace

void compute_log_start() {
  TORCH_CHECK_VALUE(compute_log == nullptr, "[W150] a record of ops is under way already; end that one first");
  compute_log = std::make_unique<ComputeLog>();
  compute_log->handle = at::addThreadLocalCallback(at::RecordFunctionCallback(&op_begins, &op_ends)
                                                       .needsInputs(true)
                                                       .needsOutputs(true)
                                                       .scopes({at::RecordScope::FUNCTION}));
}

ComputedOps compute_log_stop() {
  TORCH_CHECK_VALUE(compute_log != nullptr, "[W150] no record of ops is under way");
  at::removeCallback(compute_log->handle);
  return std::move(std::exchange(compute_log, nullptr)->ops);
}

}  // namespace weft
