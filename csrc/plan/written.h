#pragma once
// Results that are arguments, written in place.
#include "rules/bound.h"
#include "rules/op_info.h"

namespace weft {

/// The argument that a result is; -1: a new tensor. An op that returns nothing has what it writes as its results, of
/// the numbers -1 - argument.
inline int written_argument(const Call& call, const ResultInfo& result) {
  return result.result < 0 ? -1 - result.result : call.op.results[result.result].written_argument;
}

}  // namespace weft
