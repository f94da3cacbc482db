#pragma once
// Factor rules: which ways of splitting an op are correct, for one mesh axis at a time. See table/*.cpp for the rules
// and notation.cpp for the notation.
//
//   operand, ... -> result, ... ; attribute; ...
//
// token      meaning (one per tensor dimension)
// i          factor i: dimensions with the same factor are split together
// 1          a dimension that is never split
// (a b)      a folded dimension, a major
// ...        the batch factors, right-aligned where operands broadcast; a size-1 dimension broadcasts
// ...-@dim   without the dimensions in argument `dim` (which stay, as 1, where argument `keepdim` is true)
// ...+@dim   with a new, unsplit dimension inserted there
// ...~@dim   with a fresh, unsplit factor in the place of those dimensions
// n@arg      one factor per entry of the int list `arg`; a split entry is localized in the argument
// 1@arg      as many unsplit dimensions as `arg` has entries
//
// operand prefix: * a list, every tensor of it like this;  ? may be absent;  + added once: where the result is pending
// over an axis, so is this;  # only the shape is read, never the values.
//
// attribute             meaning
// sum f  (max, min, product, norm2)   splitting f leaves the results pending
// whole f               f must not be split; `whole f via name` runs composite `name` where it arrives split
// free f                results without f are the same whatever part of f a rank has
// size f g @arg         the int argument `arg` is the length of f (times g): tells f's size, and is localized
// size f @arg.1         entry 1 of the int list `arg` is
// when arg, unless arg  the rule holds where that argument is true, or not 0 (false, 0); `when arg=2`: is 2, also by
//                       core's names for `reduction` (none, mean, sum) and `mode` of bags (sum, mean, max)
// halo f kind           f is a dimension that a window slides over, of other lengths in the input and in the result,
//                       each split by its own: the rows that a rank lacks are fetched from the others, their gradients
//                       returned; where the window is the arguments say (window.h). kind: convolution, average, maximum
// causal f              where argument `is_causal` is true, f is masked by its place in the full tensor
// masked f i zero       f is split by masking: the indices of operand i are shifted to the shard, and results at those
//                       of others are zeros, so that the results are pending
// masked f i ignore @arg  such indices take the value of argument `arg`, which the op leaves out
// exact                 nothing broadcasts: a dimension of size 1 against a larger one is not split either
// linear 0|1   0+1      operand 0 or 1 alone (both together) may be pending, then the results are too (sum, avg)
// carry 0|1   0+1       the same for any kind of pending reduction: the op only moves values
//
// `halo`, `causal`, `masked` and `via` are for the rules in table/ alone, not for register_rule.
//
// A factor that no result has needs an attribute, or the rule does not load. In attributes `@dim` stands for the batch
// factors at those dimensions, `...` for all of them, `*` for all operands.
#include <weft/layout.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rules/window.h"

namespace weft::rules {

struct Token {
  enum Kind : uint8_t { factor, one, compound, batch, entries } kind = one;
  std::string name;                // factor, entries
  std::vector<std::string> parts;  // compound, major first
  char edit = 0;                   // batch: 0, '-', '+', '~'
  std::string argument;            // batch with an edit, entries: the schema argument
};

struct Operand {
  std::vector<Token> tokens;
  bool list = false, optional = false, added_once = false, shape_only = false;  // see the prefixes above
};

struct Attribute {
  enum Kind : uint8_t { reduce, whole, free, halo, causal, masked, linear, carry, size, when, unless, exact } kind;
  std::string factor;                     // "i", "@dim", "..." ; unused for linear and carry
  Reduction reduction = Reduction::none;  // reduce
  std::string via;                        // whole: a composite's name
  int index_operand = -1;                 // masked
  Window::Kind window = {};               // halo
  std::vector<std::vector<int>> groups;   // linear, carry: alternatives of operands pending together; -1: all
  std::vector<std::string> product;       // size: the factors
  std::string argument;                   // size, when, unless; masked: of what is ignored, empty: zeros
  int entry = -1;                         // size: of a list
  int value = -1;                         // when, unless: of that value; -1: of any but 0
};

struct Rule {
  std::string text;
  std::vector<Operand> operands, results;
  std::vector<Attribute> attributes;
};

/// Parses the notation. Raises ValueError with the text and the place where it does not fit.
Rule parse(std::string_view text);

}  // namespace weft::rules
