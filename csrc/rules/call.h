#pragma once
// A call as rules see it, and how it is made of an op's arguments.
#include <ATen/core/ivalue.h>

#include <string>
#include <vector>

#include "layout/shard.h"
#include "tensor/sharded.h"

namespace weft {

struct OpInfo;

/// One tensor of a call's arguments, lists flattened. The same on all ranks.
struct TensorInfo {
  int argument = 0;  // index in the schema
  int element = -1;  // in a list
  bool defined = false;
  Layout layout = nullptr;  // null: a plain tensor, the same on all ranks
  Geometry geometry;
  at::ScalarType dtype = at::kFloat;
  bool written = false;
  bool wrapped_number = false;
  bool variable = false;  // tagged, or a view of one that is: what a program keeps, not what flows through it
  bool stays = false;     // strict mode refuses to lay it out anew

  static TensorInfo of(const OpInfo& op, int argument, int element, const at::Tensor& tensor);
  int64_t ndim() const { return static_cast<int64_t>(geometry.sizes.size()); }
  int64_t bytes() const { return geometry.numel() * static_cast<int64_t>(c10::elementSize(dtype)); }
};

/// One tensor of a call's results, lists flattened.
struct ResultInfo {
  int result = 0;    // index in the schema; of an op that returns nothing: -1 - the written argument's
  int element = -1;  // in a list
  bool defined = true;
  Geometry geometry;
  at::ScalarType dtype = at::kFloat;

  static ResultInfo of(int result, int element, const at::Tensor& tensor);
  /// One that is what the op wrote there.
  static ResultInfo of_written(int result, const TensorInfo& written);
};

/// A call as rules see it: global shapes and arguments, no values.
struct Call {
  const OpInfo& op;
  c10::ArrayRef<c10::IValue> arguments;
  std::vector<TensorInfo> tensors;
  std::vector<ResultInfo> results;  // empty where they could not be told beforehand
  Mesh mesh = nullptr;              // of the layouts; null: all tensors are plain

  /// The call with these arguments, which stay the caller's; its results are still to be told. Raises ValueError where
  /// tensors lie on two meshes.
  static Call of(const OpInfo& op, c10::ArrayRef<c10::IValue> arguments);

  const c10::IValue* value(const std::string& name) const;  // null: no such argument
  bool flag(const std::string& name) const;                 // false where absent or None
  /// The dimensions that an int or int list argument names, wrapped to [0, ndim); all where None or empty.
  std::vector<int64_t> dims(const std::string& name, int64_t ndim) const;
  /// Index in `tensors` of the (first) tensor of the named argument; -1: none or undefined.
  int tensor(const std::string& name) const;
};

/// Raises ValueError: an op's operands lie on one mesh.
[[noreturn]] void refuse_two_meshes(const OpInfo& op, Mesh first, Mesh other);

}  // namespace weft
