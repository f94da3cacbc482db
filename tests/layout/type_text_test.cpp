#include "layout/type_text.h"

#include <gtest/gtest.h>

#include "support/run_ranks.h"

namespace weft {
namespace {

TEST(TypeText, AxesByDimensionAndWhatIsPending) {
  test::run_ranks(4, [](int) {
    const Mesh mesh = DeviceMesh::get({2, 2}, {"data", "model"});
    const auto text = [](at::ScalarType dtype, std::vector<int64_t> sizes, Layout layout) {
      return type_text(dtype, sizes, layout);
    };
    EXPECT_EQ(text(at::kFloat, {8, 4}, TensorLayout::from_names(mesh, {{"data"}, {"model"}})), "f32[8@data, 4@model]");
    EXPECT_EQ(text(at::kBFloat16, {8, 4}, TensorLayout::from_names(mesh, {{"data", "model"}, {}})),
              "bf16[8@data@model, 4]");
    EXPECT_EQ(text(at::kLong, {8}, TensorLayout::from_names(mesh, {{"data"}}, {{"model", "sum"}})),
              "i64[8@data]{model: sum}");
    EXPECT_EQ(text(at::kBool, {}, TensorLayout::from_names(mesh, {}, {{"data", "max"}, {"model", "max"}})),
              "b8[]{data: max, model: max}");
    TensorLayout::Dims blocks(1);
    blocks[0].push_back({1, 4});
    EXPECT_EQ(text(at::kComplexDouble, {8}, TensorLayout::get(mesh, blocks)), "c128[8@model/4]");
    EXPECT_EQ(text(at::kHalf, {2, 3}, nullptr), "f16[2, 3]");
    EXPECT_EQ(text(at::kFloat8_e5m2, {1}, nullptr), "f8e5m2[1]");
    EXPECT_EQ(text(at::kUInt16, {1}, nullptr), "u16[1]");
    EXPECT_EQ(text(at::kQInt8, {1}, nullptr), "QInt8[1]");
  });
}

}  // namespace
}  // namespace weft
