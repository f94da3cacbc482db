#include "tensor/unreal.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/weft.h>

#include "mesh/context.h"

namespace weft {
namespace {

using testing::HasSubstr;

class Unreal : public testing::Test {
 protected:
  const Mesh mesh_ = DeviceMesh::simulate({64, 64}, {"data", "model"}, 65);
  at::Tensor laid_out(at::IntArrayRef sizes, const std::vector<std::vector<std::string>>& axes) const {
    const at::Tensor x = at::empty(sizes, at::device(at::kMeta));
    return distribute_tensor(x, TensorLayout::from_names(mesh_, axes));
  }
};

TEST_F(Unreal, OpsHaveShapesAndCollectivesAreCounted) {
  const int64_t n = int64_t{1} << 20;
  const at::Tensor x = laid_out({n, n}, {{"data"}, {"model"}}), w = laid_out({n, n}, {{"model"}, {}});
  Trace trace;
  const at::Tensor y = at::relu(at::mm(x, w));
  const std::vector<TraceRow> rows = trace.stop();
  ASSERT_EQ(rows.size(), 1);
  EXPECT_EQ(rows[0].kind, "all_reduce");
  EXPECT_EQ(rows[0].bytes, 2 * 63 * (n / 64 * n * 4 / 64));
  EXPECT_EQ(y.sizes(), at::IntArrayRef({n, n}));
  EXPECT_TRUE(local_tensor(y).is_meta());
  EXPECT_EQ(local_tensor(y).sizes(), at::IntArrayRef({n / 64, n}));
}

TEST_F(Unreal, ValuesAreNowhere) {
  const at::Tensor x = laid_out({128}, {{"data"}});
  EXPECT_THAT(describe(x), testing::AllOf(HasSubstr("without values"), HasSubstr("f32[128@data]"),
                                          HasSubstr("shown is rank 65's part, of shape (2,)")));
  try {
    x.sum().item<double>();
    FAIL();
  } catch (const c10::NotImplementedError& error) {
    EXPECT_THAT(error.what_without_backtrace(), HasSubstr("[W073] [_local_scalar_dense] needs values"));
  }
  EXPECT_THROW(at::equal(x, x), c10::NotImplementedError);
  EXPECT_TRUE(local_tensor(at::rand_like(x)).is_meta());
}

}  // namespace
}  // namespace weft
