#pragma once
// What a checkpoint holds beside variables, as JSON and tensors with names: the form that torch_ops/weft/
// checkpoint_values.py has for Python's values. An object of one key says what JSON cannot: {"weft:tensor": name},
// {"weft:tuple": [...]}, {"weft:number": "inf"}.
#include <ATen/core/ivalue.h>
#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace weft::checkpoint {

using Json = nlohmann::ordered_json;

/// The value as JSON; its tensors are added to `items`, named by where they are in it: "optimizer.state.weight.step".
/// Raises ValueError naming the place of what is neither None, a number, a string, a tensor, nor a list or tuple.
Json encode(const c10::IValue& value, const std::string& group, const std::string& place, std::vector<Item>& items);

/// What `encode` was given. An empty list is one of tensors, numbers are of the type that they have in `like`. Raises
/// ValueError naming the place of what no IValue can be.
/// @param like  a value of the same kind, or None
c10::IValue decode(const Json& json, const std::string& place, const c10::IValue& like,
                   const std::function<at::Tensor(const std::string& name)>& tensor_of);

/// The name where `encode` has put a tensor; null: it is something else.
const std::string* tensor_name(const Json& json);
/// The names of the tensors in an encoded value.
std::vector<std::string> tensor_names(const Json& json);

}  // namespace weft::checkpoint
