#include "checkpoint/values.h"

#include <ATen/core/List.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "base/quote.h"

namespace weft::checkpoint {
namespace {

constexpr const char *kTensor = "weft:tensor", *kTuple = "weft:tuple", *kNumber = "weft:number";

// What the object of this one key holds; null: it is none.
const Json* held(const Json& json, const char* key) {
  return json.is_object() && json.size() == 1 && json.begin().key() == key ? &json.begin().value() : nullptr;
}

Json number(double value) {
  if (std::isfinite(value)) return value;
  return {{kNumber, std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf"}};
}

[[noreturn]] void unknown(const std::string& place, const std::string& kind) {
  C10_THROW_ERROR(ValueError, c10::str("[W113] load: ", quote(place), " is ", kind, ", which C++ has no value for"));
}

template <class T>
c10::IValue list_of(const std::vector<c10::IValue>& values) {
  c10::List<T> list;
  for (const c10::IValue& value : values) list.push_back(value.isNone() ? T() : value.to<T>());
  return list;
}

// Lists of IValues have types, which JSON has not. Tensors may be none, as where an optimizer leaves them undefined.
c10::IValue typed_list(const std::vector<c10::IValue>& values) {
  const auto all = [&](auto is) { return std::all_of(values.begin(), values.end(), is); };
  if (all([](const c10::IValue& v) { return v.isTensor() || v.isNone(); })) return list_of<at::Tensor>(values);
  if (all([](const c10::IValue& v) { return v.isInt(); })) return list_of<int64_t>(values);
  if (all([](const c10::IValue& v) { return v.isDouble(); })) return list_of<double>(values);
  c10::impl::GenericList list(c10::AnyType::get());
  for (const c10::IValue& value : values) list.push_back(value);
  return list;
}

}  // namespace

Json encode(const c10::IValue& value, const std::string& group, const std::string& place, std::vector<Item>& items) {
  const auto each = [&](const auto& values) {
    Json list = Json::array();
    for (const c10::IValue& v : values) {
      list.push_back(encode(v, group, place + "." + std::to_string(list.size()), items));
    }
    return list;
  };
  if (value.isNone() || (value.isTensor() && !value.toTensor().defined())) return nullptr;
  if (value.isTensor()) {
    items.push_back({group, place, value.toTensor()});
    return {{kTensor, place}};
  }
  if (value.isBool()) return value.toBool();
  if (value.isInt()) return value.toInt();
  if (value.isDouble()) return number(value.toDouble());
  if (value.isString()) return value.toStringRef();
  if (value.isTuple()) return {{kTuple, each(value.toTupleRef().elements())}};
  if (value.isList()) return each(value.toListRef());
  C10_THROW_ERROR(ValueError, c10::str("[W117] save: ", quote(place), " is of kind ", value.tagKind(),
                                       "; what is saved must be made of None, numbers, strings, tensors, lists and "
                                       "tuples"));
}

c10::IValue decode(const Json& json, const std::string& place, const c10::IValue& like,
                   const std::function<at::Tensor(const std::string& name)>& tensor_of) {
  if (json.is_null()) return {};
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_float() || (json.is_number() && like.isDouble())) return json.get<double>();
  if (json.is_number_unsigned() && json.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
    unknown(place, "a number beyond 64 bits");
  }
  if (json.is_number()) return json.get<int64_t>();
  if (json.is_string()) return json.get<std::string>();
  if (const std::string* name = tensor_name(json)) return tensor_of(*name);
  if (const Json* text = held(json, kNumber); text != nullptr && text->is_string()) {
    return std::strtod(text->get_ref<const std::string&>().c_str(), nullptr);
  }
  const Json* tuple = held(json, kTuple);
  const Json& elements = tuple != nullptr ? *tuple : json;
  if (!elements.is_array()) unknown(place, "a dict");
  std::vector<c10::IValue> values;
  for (const Json& element : elements) {
    const size_t i = values.size();
    const bool known = like.isTuple() && i < like.toTupleRef().size();
    const c10::IValue element_like = known ? like.toTupleRef().elements()[i] : c10::IValue();
    values.push_back(decode(element, place + "." + std::to_string(i), element_like, tensor_of));
  }
  return tuple != nullptr ? c10::IValue(c10::ivalue::Tuple::create(std::move(values))) : typed_list(values);
}

const std::string* tensor_name(const Json& json) {
  const Json* name = held(json, kTensor);
  return name != nullptr && name->is_string() ? &name->get_ref<const std::string&>() : nullptr;
}

std::vector<std::string> tensor_names(const Json& json) {
  if (const std::string* name = tensor_name(json)) return {*name};
  std::vector<std::string> names;
  if (!json.is_structured()) return names;
  for (const Json& value : json) {
    for (std::string& name : tensor_names(value)) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace weft::checkpoint
