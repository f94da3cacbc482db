#pragma once
// A rule bound to the shapes and arguments of one call.
#include <c10/util/SmallVector.h>

#include <string>
#include <utility>
#include <vector>

#include "rules/call.h"
#include "rules/rule.h"
#include "rules/window.h"

namespace weft::rules {

struct BoundRule {
  struct Factor {
    int64_t size = -1;
    bool splittable = true;
    bool even = false;  // minor factors follow it in some folded dimension: only even splits
    bool whole = false;
    bool free = false;             // results without it do not depend on it
    bool halo = false;             // rows of the neighbours are fetched
    std::optional<Window> window;  // halo: what slides over it
    bool causal = false;           // with is_causal, masked by place
    bool masked = false;
    int index_operand = -1;  // masked: the operand (of the rule) that holds indices into it
    std::string ignored;     // masked: the argument with the index that is left out; empty: results are zeros
    bool wraps = false;      // masked: negative indices count from the end
    Reduction reduction = Reduction::none;
    bool contracted = false;  // in no result
    std::string via;
  };
  using Dim = c10::SmallVector<int, 2>;  // factors, major first; empty: never split
  struct Tensor {
    std::vector<Dim> dims;
    bool added_once = false;
    bool shape_only = false;
    bool ruled = true;   // false: no operand of the rule stands for it; it must be replicated
    bool stays = false;  // its layout tells what was done before, and nothing else may be
    int operand = -1;    // of the rule
  };
  struct Pending {
    std::vector<int> tensors;  // these are pending together
    bool carry = false;        // any kind of reduction passes
  };
  struct Localized {  // an int argument (entry >= 0: of a list) is the length of these factors together
    int argument, entry;
    std::vector<int> factors;
  };

  std::vector<Factor> factors;
  std::vector<Tensor> tensors;  // parallel to Call::tensors
  std::vector<Tensor> results;  // parallel to Call::results
  std::vector<Pending> pending;
  std::vector<Localized> localized;
  std::vector<std::pair<int, c10::IValue>> replaced;  // arguments that take another value on every shard
  bool supports_empty_shards = true;  // its kernels take a shard with nothing in it; else no such split is taken
  int sizes_argument = -1;            // an int list that becomes the first result's local sizes
  int strides_argument = -1;          // and one that becomes its local strides

  int add_factor(int64_t size, bool splittable = true);
};

/// Binds a rule; false where it does not fit the call (ranks differ from the notation's), with the reason in `why`.
bool bind(const Rule& rule, const Call& call, BoundRule& bound, std::string& why);

/// Binds ops whose rule depends on arguments in a way that the notation does not say, by bind's contract.
using Binder = bool (*)(const Call& call, BoundRule& bound, std::string& why);

/// Closes a bound rule: factors in no result are contracted, sizes that disagree make a factor unsplittable.
void finish(const Call& call, BoundRule& bound);

/// Runs instead of the op, on the sharded tensors themselves and below autograd; results are pushed on the stack.
using Composite = void (*)(const c10::OperatorHandle& op, std::vector<c10::IValue>& stack);

/// One registered way to run an op.
struct RuleEntry {
  std::string op;                      // "add.Tensor"
  Rule rule;                           // where it has notation
  Binder binder = nullptr;             // where it is bound by a function
  std::string text;                    // printed form
  bool supports_empty_shards = false;  // see BoundRule
};

}  // namespace weft::rules
