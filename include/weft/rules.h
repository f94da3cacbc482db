#pragma once
// Rules for a program's own ops: which ways of splitting them are correct.
#include <weft/export.h>

#include <string>

namespace weft {

/// Tells how an op may be split, so that it runs on the shards instead of being gathered:
///
///   weft::register_rule("mylib::op", "m k, k n -> m n;  sum k");
///
/// One letter for each dimension of each tensor argument and result, in the schema's order; equal ones are split
/// together. A factor that no result has says what its parts give: "sum k" (max, min, product, norm2), or "whole k"
/// where it must not be split; "linear 0" lets operand 0 be a pending sum. csrc/rules/rule.h has all of the notation.
/// In-place, foreach and out= variants follow ("mylib::op_", "mylib::_foreach_op", "mylib::op.out"). An op may have
/// several rules where each but the last says `when` or `unless` it holds.
///
/// Every rank registers the same rules, at any time: plans made for the op before are dropped.
/// @param op   "namespace::name", with ".overload" where it has one; registered before
/// Raises ValueError, naming the op, the text and the place in it, where the text does not fit the notation or the op's
/// schema, where no such op is registered, where it has a rule already, and for ops that a rule cannot speak of (views,
/// ops made of others, results that are no tensors).
WEFT_API void register_rule(const std::string& op, const std::string& text);

}  // namespace weft
