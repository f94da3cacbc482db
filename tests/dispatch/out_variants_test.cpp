// out= variants: the result comes in the layout of what it is written into.

#include "dispatch/names.h"

namespace weft {
namespace {

TEST(Out, KeepsItsLayout) {
  run_ranks(3, [](int) {
    at::Tensor out = distribute_tensor(at::zeros({5, 4}), layout(kColumns));
    const at::Tensor x = distribute_tensor(numbers({5, 4}), layout(kRows)), seen = out.t();
    EXPECT_TRUE(at::add_out(out, x, x).is_same(out));
    EXPECT_EQ(layout_of(out), layout(kColumns));
    EXPECT_EQ(difference({out, seen}, {numbers({5, 4}) * 2, (numbers({5, 4}) * 2).t()}), "");
    EXPECT_TRUE(at::add_out(out, numbers({5, 4}), numbers({5, 4})).is_same(out));  // of plain tensors
    EXPECT_EQ(layout_of(out), layout(kColumns));
  });
}

TEST(Out, ThatIsPlainIsGathered) {
  run_ranks(3, [](int) {
    at::Tensor out = at::zeros({5, 4}), empty = at::empty({0});
    const at::Tensor x = distribute_tensor(numbers({5, 4}), layout(kRows));
    at::mul_out(out, x, x);
    at::mul_out(empty, x, x);
    EXPECT_FALSE(is_sharded(out) || is_sharded(empty));
    EXPECT_EQ(difference({out, empty}, {numbers({5, 4}) * numbers({5, 4}), numbers({5, 4}) * numbers({5, 4})}), "");
  });
}

TEST(Out, OfSeveralResultsIsFilledInTheirOrder) {
  run_ranks(3, [](int) {
    const at::Tensor x = distribute_tensor(numbers({5, 4}).sin(), layout(kRows));
    at::Tensor values = distribute_tensor(at::zeros({5}), layout({{"x"}}));
    at::Tensor indices = at::zeros({5}, at::kLong);
    const auto got = at::max_out(values, indices, x, 1);
    EXPECT_TRUE(std::get<0>(got).is_same(values) && std::get<1>(got).is_same(indices));
    const auto [plain_values, plain_indices] = numbers({5, 4}).sin().max(1);
    EXPECT_EQ(difference({values, indices}, {plain_values, plain_indices}), "");
  });
}

TEST(Out, WithoutEntriesTakesTheResultsShape) {
  run_ranks(3, [](int) {
    at::Tensor out = distribute_tensor(at::zeros({0}), TensorLayout::replicated(line(3), 1));
    at::mul_out(out, distribute_tensor(numbers({5, 4}), layout(kRows)), numbers({5, 4}));
    EXPECT_EQ(difference({out}, {numbers({5, 4}) * numbers({5, 4})}), "");
  });
}

TEST(Out, IsRefusedForDtypesAsCoreRefusesIt) {
  run_ranks(3, [](int) {
    const at::Tensor whole = at::arange(20).view({5, 4}), whole_float = whole.to(at::kFloat);
    const at::Tensor x = distribute_tensor(whole, layout(kRows)), y = distribute_tensor(whole_float, layout(kRows));
    const auto of = [](at::ScalarType dtype) { return at::zeros({5, 4}, dtype); };
    const auto refuses = [&](auto&& call, const char* words) {
      EXPECT_THAT(error_of<c10::Error>(call), testing::HasSubstr(words));
    };
    at::Tensor complex = of(at::kComplexFloat), wide = of(at::kDouble), one = at::zeros({}, at::kFloat);
    refuses([&] { at::neg_out(complex, x); }, "[neg.out] Found dtype ComplexFloat but expected Long");
    refuses([&] { at::floor_out(wide, y); }, "[floor.out] Found dtype Double but expected Float");
    refuses([&] { at::mean_out(one, x, at::IntArrayRef{0, 1}); }, "[mean.out] mean(): could not infer output dtype");
    at::Tensor product = at::zeros({5, 5}, at::kDouble);
    refuses([&] { at::mm_out(product, y, y.t()); }, "[mm.out] Expected out tensor to have dtype");
    EXPECT_EQ(difference({complex, wide, product}, {of(at::kComplexFloat), of(at::kDouble), product * 0}), "");
    at::Tensor cells = at::zeros({4}, at::kDouble);  // cast, as core does
    at::add_out(wide, y, y);
    at::sin_out(complex, x);
    at::sum_out(cells, x, at::IntArrayRef{0});
    EXPECT_EQ(difference({wide, complex, cells}, {(whole_float + whole_float).to(at::kDouble),
                                                  whole.sin().to(at::kComplexFloat), whole.sum(0).to(at::kDouble)}),
              "");
  });
}

TEST(Out, GivesReductionsItsDtype) {
  run_ranks(3, [](int) {
    const at::Tensor plain = at::full({5, 4}, 40000.0, at::kHalf), x = distribute_tensor(plain, layout(kRows));
    at::Tensor sum = at::zeros({4}, at::kFloat), mean = at::zeros({}, at::kDouble);
    at::sum_out(sum, x, at::IntArrayRef{0});  // more than half precision holds
    at::mean_out(mean, x, at::IntArrayRef{0, 1});
    at::Tensor scan = distribute_tensor(at::zeros({5, 4}), layout(kColumns));
    at::cumsum_out(scan, x, 0);
    EXPECT_EQ(difference({sum, mean, scan}, {plain.sum(0, false, at::kFloat), at::full({}, 40000.0, at::kDouble),
                                             plain.cumsum(0, at::kFloat)}),
              "");
    const at::Tensor turned = at::complex(plain.to(at::kFloat), plain.to(at::kFloat));
    const at::Tensor y = distribute_tensor(turned, layout(kRows));
    at::Tensor norm = at::zeros({4}, at::kFloat), matrix = at::zeros({}, at::kFloat);
    at::linalg_vector_norm_out(norm, y, 2, at::IntArrayRef{0});
    at::linalg_matrix_norm_out(matrix, y, "fro");
    EXPECT_EQ(difference({norm, matrix}, {at::linalg_vector_norm(turned, 2, at::IntArrayRef{0}),
                                          at::linalg_matrix_norm(turned, "fro")}),
              "");
  });
}

TEST(Out, OfAnotherShapeOrDtypeIsRefused) {
  run_ranks(3, [](int) {
    const at::Tensor x = distribute_tensor(numbers({5, 4}), layout(kRows));
    at::Tensor small = distribute_tensor(at::zeros({2, 4}), layout(kRows));
    at::Tensor whole = distribute_tensor(at::zeros({5, 4}, at::kLong), layout(kRows));
    EXPECT_THAT(error_of([&] { at::add_out(small, x, x); }),
                HasSubstr("[add.out] out= has shape [2, 4] and the result [5, 4]"));
    EXPECT_THAT(error_of<c10::Error>([&] { at::add_out(whole, x, x); }),
                HasSubstr("[add.out] result type Float can't be cast to the desired output type Long"));
    EXPECT_EQ(difference({small, whole}, {at::zeros({2, 4}), at::zeros({5, 4}, at::kLong)}), "");
  });
}

}  // namespace
}  // namespace weft
