#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/print.h>
#include <weft/tensor.h>

#include <sstream>

#include "support/run_ranks.h"

namespace weft {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Describe, ThisRanksPart) {
  test::run_ranks(2, [](int rank) {
    const Mesh mesh = test::line(2);
    const at::Tensor plain = at::arange(1, 7, at::kFloat).view({3, 2});
    at::Tensor x = distribute_tensor(plain, TensorLayout::from_names(mesh, {{"x"}, {}}));
    set_path(x, "up/weight");
    const std::string text = describe(x);
    std::ostringstream part;
    part << (rank == 0 ? plain.slice(0, 0, 2) : plain.slice(0, 2, 3));
    EXPECT_THAT(text, HasSubstr(part.str()));
    EXPECT_THAT(text, HasSubstr("(f32[3@x, 2], mesh (x=2), path='up/weight'; shown is rank " + std::to_string(rank) +
                                "'s part, of shape (" + (rank == 0 ? "2" : "1") + ", 2))"));
    EXPECT_THAT(describe(distribute_tensor(plain, TensorLayout::replicated(mesh, 2))),
                HasSubstr("shown is the whole value)"));
  });
}

TEST(Describe, OneRankAloneMayPrint) {
  test::run_ranks(2, [](int rank) {
    const at::Tensor x = distribute_tensor(at::ones({4}), TensorLayout::from_names(test::line(2), {{"x"}}));
    if (rank == 0) {
      EXPECT_THAT(describe(x), HasSubstr("f32[4@x]"));
    }
    EXPECT_TRUE(full_tensor(x).equal(at::ones({4})));
  });
}

TEST(Describe, NoValuesOfWhatIsPending) {
  test::run_ranks(2, [](int) {
    const at::Tensor x = distribute_tensor(at::full({4}, 7), TensorLayout::from_names(test::line(2), {{"x"}}));
    const std::string text = describe(x.sum());
    EXPECT_THAT(text, HasSubstr("pending sum over x"));
    EXPECT_THAT(text, HasSubstr("weft::full_tensor(x), on every rank, gives the value"));
    EXPECT_THAT(text, Not(HasSubstr("14")));
  });
}

TEST(Describe, PlainTensorsAsEver) {
  const at::Tensor x = at::ones({2, 2});
  std::ostringstream text;
  text << x;
  EXPECT_EQ(describe(x), text.str());
  EXPECT_EQ(describe(at::Tensor()), "[ Tensor (undefined) ]");
}

}  // namespace
}  // namespace weft
