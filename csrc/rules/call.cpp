#include "rules/call.h"

#include <algorithm>

#include "rules/op_info.h"

namespace weft {

TensorInfo TensorInfo::of(const OpInfo& op, int argument, int element, const at::Tensor& tensor) {
  TensorInfo info;
  info.argument = argument;
  info.element = element;
  info.defined = tensor.defined();
  info.written = op.arguments[argument].written;
  if (!info.defined) return info;
  if (holds_shards(tensor)) {
    info.layout = sharded(tensor).layout();
    info.variable = sharded(tensor).interned_path() != nullptr;
  }
  info.geometry = geometry_of(tensor);
  info.dtype = tensor.scalar_type();
  info.wrapped_number = tensor.unsafeGetTensorImpl()->is_wrapped_number();
  return info;
}

ResultInfo ResultInfo::of(int result, int element, const at::Tensor& tensor) {
  ResultInfo info;
  info.result = result;
  info.element = element;
  info.defined = tensor.defined();
  if (!info.defined) return info;
  info.geometry = geometry_of(tensor);
  info.dtype = tensor.scalar_type();
  return info;
}

ResultInfo ResultInfo::of_written(int result, const TensorInfo& written) {
  return {result, written.element, written.defined, written.geometry, written.dtype};
}

Call Call::of(const OpInfo& op, c10::ArrayRef<c10::IValue> arguments) {
  Call call{op, arguments, {}, {}, nullptr};
  const auto add = [&](size_t argument, int element, const c10::IValue& v) {
    const at::Tensor tensor = v.isTensor() ? v.toTensor() : at::Tensor();
    call.tensors.push_back(TensorInfo::of(op, static_cast<int>(argument), element, tensor));
    if (const Layout layout = call.tensors.back().layout) {
      if (call.mesh != nullptr && call.mesh != layout->mesh()) refuse_two_meshes(op, call.mesh, layout->mesh());
      call.mesh = layout->mesh();
    }
  };
  for (size_t a = 0; a < arguments.size(); ++a) {
    if (op.arguments[a].kind == OpInfo::Kind::tensor) {
      add(a, -1, arguments[a]);
    } else if (op.arguments[a].kind == OpInfo::Kind::tensor_list && arguments[a].isList()) {
      int element = 0;
      for (const c10::IValue& v : arguments[a].toListRef()) add(a, element++, v);
    }
  }
  return call;
}

const c10::IValue* Call::value(const std::string& name) const {
  const int i = op.argument(name);
  return i < 0 ? nullptr : &arguments[i];
}

bool Call::flag(const std::string& name) const {
  const c10::IValue* v = value(name);
  return v != nullptr && ((v->isBool() && v->toBool()) || (v->isInt() && v->toInt() != 0));
}

std::vector<int64_t> Call::dims(const std::string& name, int64_t ndim) const {
  const c10::IValue* v = value(name);
  std::vector<int64_t> out;
  if (v != nullptr && v->isInt()) {
    out.push_back(v->toInt());
  } else if (v != nullptr && v->isIntList()) {
    out = v->toIntVector();
    if (op.empty_is_none && out.empty()) return out;
  }
  if (out.empty()) {
    for (int64_t d = 0; d < ndim; ++d) out.push_back(d);
    return out;
  }
  for (int64_t& d : out) {
    if (d < 0) d += std::max<int64_t>(ndim, 1);  // of a number 0 and -1, which it has not
  }
  return out;
}

int Call::tensor(const std::string& name) const {
  const int argument = op.argument(name);
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].argument == argument && tensors[i].defined) return static_cast<int>(i);
  }
  return -1;
}

void refuse_two_meshes(const OpInfo& op, Mesh first, Mesh other) {
  TORCH_CHECK_VALUE(false, "[W031] [", op.short_name, "] operands lie on two meshes, ", first->str(), " and ",
                    other->str(), "; bring them to one with weft.distribute_tensor");
}

}  // namespace weft
