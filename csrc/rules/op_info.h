#pragma once
// What is known of an operator before any call: its arguments by kind, what it writes and aliases, its rule.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <string>
#include <vector>

#include "rules/bound.h"
#include "rules/rule.h"

namespace weft {

struct OpInfo {
  enum class Kind : uint8_t { tensor, tensor_list, value };
  struct Argument {
    Kind kind = Kind::value;
    bool written = false;
    bool keyed = false;  // a value that a plan may depend on (ints, bools, strings; not scalars and floats)
  };
  struct Result {
    Kind kind = Kind::value;
    int written_argument = -1;  // the result is that argument, written in place
    bool view = false;
  };

  explicit OpInfo(const c10::OperatorHandle& handle);

  c10::OperatorHandle handle;
  std::string name;        // "aten::add_.Tensor"
  std::string short_name;  // "add_.Tensor"; with its namespace for others than aten
  uint64_t hash = 0;       // the same in every process, and for an op and its in-place variant
  std::vector<Argument> arguments;
  std::vector<Result> results;
  bool is_view = false;        // some result aliases the first argument without writing
  bool tells = false;          // some result is a plain value, and no size: a number, a bool
  bool writes = false;         // in place, out= or both
  bool is_out = false;         // writes keyword-only arguments
  bool copies = false;         // its result is the value of its first argument
  bool random = false;         // may draw: tagged nondeterministic_seeded, or takes a generator
  bool is_foreach = false;     // lists, entry by entry
  bool fills = false;          // writes one value everywhere
  bool empty_is_none = false;  // an empty list of dimensions means none of them; elsewhere all
  bool uninitialized = false;  // its results are memory that nothing has written yet
  std::vector<const rules::RuleEntry*> rules;
  rules::Composite decomposition = nullptr;  // runs in its place; null: the op itself does
  void (*special)(const OpInfo& op, std::vector<c10::IValue>& stack) = nullptr;  // runs it, past rules and plans

  const c10::FunctionSchema& schema() const { return handle.schema(); }
  /// Index of the argument with that name; -1: none.
  int argument(const std::string& name) const;
};

}  // namespace weft
