#pragma once
// A decomposition on split dimensions, against the op itself on plain tensors.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "composites/composites.h"
#include "rules/bound.h"
#include "support/boxed.h"
#include "support/run_ranks.h"
#include "tensor/below_autograd.h"

namespace weft::test {

/// Of each tensor among the arguments, for each dimension, the axes that split it; empty: the tensor is plain.
using Splits = std::vector<std::vector<std::vector<std::string>>>;

struct CompositeCase {
  rules::Composite run;
  std::string op;
  Values arguments;
  Splits splits;
  double tolerance = 1e-5;
};

/// The decomposition alone on that many ranks; what would choose it is not asked.
inline void expect_same(const CompositeCase& c, int ranks) {
  const Values plain = call(c.op, laid_out(c.arguments, {}));
  run_ranks(ranks, [&](int) {
    std::vector<Layout> layouts;
    for (const auto& axes : c.splits) {
      layouts.push_back(axes.empty() ? nullptr : TensorLayout::from_names(line(ranks), axes));
    }
    Values stack = laid_out(c.arguments, layouts);
    {
      const BelowAutograd guard;
      c.run(op_named(c.op), stack);
    }
    EXPECT_EQ(difference(stack, plain, c.tolerance), "") << c.op << " on " << ranks << " ranks";
  });
}

/// Parts of unequal lengths on three ranks, and none for the last of four where five are cut.
inline void expect_same(const std::vector<CompositeCase>& cases) {
  for (const CompositeCase& c : cases) {
    for (const int ranks : {3, 4}) expect_same(c, ranks);
  }
}

/// Values of all signs, no two alike.
inline at::Tensor waves(at::IntArrayRef sizes, at::ScalarType dtype = at::kFloat) {
  return (at::arange(c10::multiply_integers(sizes), at::kDouble) * 1.7).sin().mul(3).view(sizes).to(dtype);
}

}  // namespace weft::test

namespace weft {

using namespace rules;  // the decompositions
using test::expect_same;
using test::Values;
using test::waves;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const c10::IValue kNone;

}  // namespace weft
