#pragma once
// Ops by name, on tensors that lie in given layouts, beside the same op on plain ones.
#include <ATen/core/dispatch/Dispatcher.h>
#include <weft/layout.h>

#include <string>
#include <vector>

namespace weft::test {

using Values = std::vector<c10::IValue>;

/// "add.Tensor", "c10d::broadcast_".
c10::OperatorHandle op_named(const std::string& name);

/// The op's results.
Values call(const std::string& op, Values arguments);

/// The arguments, their tensors in memory of their own and laid out: of those that are defined, lists flattened, the
/// first in the first layout, and so on. Null, and past the end: plain.
Values laid_out(const Values& arguments, const std::vector<Layout>& layouts);

/// In what the values differ from those of plain tensors; empty: in nothing. Floating values may by the tolerance
/// (relative, and a hundredth of it absolute), NaNs are equal. Collectives: every rank calls it.
std::string difference(const Values& got, const Values& plain, double tolerance = 1e-5);

}  // namespace weft::test
