// Kernels of an op's own signature do what the boxed one does.
#include "kernels/unboxed.h"

#include <torch/library.h>

#include <algorithm>

#include "dispatch/handler.h"
#include "dispatch/names.h"

namespace weft {
namespace {

const c10::IValue kNone;

c10::List<at::Tensor> list(std::vector<at::Tensor> tensors) { return c10::List<at::Tensor>(std::move(tensors)); }

std::vector<at::Tensor> tensors_of(const Values& values) {
  std::vector<at::Tensor> all;
  for (const c10::IValue& v : values) {
    if (v.isTensor()) all.push_back(v.toTensor());
    if (v.isTensorList()) {
      for (const at::Tensor& t : v.toTensorVector()) all.push_back(t);
    }
  }
  return all;
}

TEST(Unboxed, IsWhateverHasASignatureOfTheTable) {
  for (const char* op : {"add_.Tensor",
                         "mul_.Scalar",
                         "lerp_.Scalar",
                         "addcmul_",
                         "addcdiv_",
                         "sqrt",
                         "mul.Tensor",
                         "add.Tensor",
                         "mm",
                         "addmm",
                         "relu",
                         "gelu",
                         "_softmax",
                         "sum",
                         "sum.dim_IntList",
                         "linalg_vector_norm",
                         "cat",
                         "stack",
                         "clone",
                         "view",
                         "transpose.int",
                         "permute",
                         "slice.Tensor",
                         "select.int",
                         "expand",
                         "detach",
                         "max.dim",
                         "native_layer_norm",
                         "native_layer_norm_backward",
                         "embedding",
                         "_scaled_dot_product_flash_attention_for_cpu",
                         "_foreach_add_.List",
                         "_foreach_lerp_.Scalar",
                         "_foreach_addcdiv_.ScalarList",
                         "_foreach_norm.Scalar",
                         "_fused_adamw_"}) {
    EXPECT_TRUE(unboxed_kernel(test::op_named(op)).has_value()) << op;
  }
  for (const char* op : {"topk", "index.Tensor", "split.Tensor", "native_dropout", "mul.out"}) {
    EXPECT_FALSE(unboxed_kernel(test::op_named(op)).has_value()) << op;
  }
}

TEST(Unboxed, LeavesTheSignaturesOfOthersOpsOpen) {
  torch::Library defined(torch::Library::DEF, "unboxed_test", std::nullopt, __FILE__, __LINE__);
  defined.def("twice(Tensor x) -> Tensor");
  run_ranks(1, [](int) { at::ones({1}).add(distribute_tensor(at::ones({1}), TensorLayout::replicated(line(1), 1))); });
  torch::Library later(torch::Library::IMPL, "unboxed_test", c10::DispatchKey::CPU, __FILE__, __LINE__);
  EXPECT_NO_THROW(later.impl("twice", [](at::Tensor x) { return x + x; }));
}

TEST(Unboxed, TheTableHasNoRowTwice) {
  std::vector<std::string> all = unboxed_signatures();
  const size_t count = all.size();
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  EXPECT_EQ(all.size() + 1, count);  // lists have two types in C++, and one in schemas
}

void expect_same(const std::string& op, const Values& plain, const std::vector<Layout>& layouts) {
  std::vector<Values> results;
  std::vector<Identity> identities;
  for (int way = 0; way < 3; ++way) {
    Values stack = test::laid_out(plain, layouts);
    Identity next = 7;
    for (const at::Tensor& t : tensors_of(stack)) {
      if (is_sharded(t)) sharded(t).set_identity(++next);
    }
    if (way < 2) {
      test::op_named(op).callBoxed(&stack);
    } else {
      run_op(op_info(test::op_named(op)), stack);
    }
    identities.push_back(sharded(tensors_of(stack)[0]).identity());
    results.push_back(std::move(stack));
  }
  for (Values& result : results) {
    std::vector<at::Tensor> whole;
    for (const at::Tensor& t : tensors_of(result)) whole.push_back(full_tensor(t));
    result.assign(whole.begin(), whole.end());
  }
  EXPECT_EQ(difference(results[0], results[2], 0), "") << op;
  EXPECT_EQ(difference(results[1], results[2], 0), "") << op;
  EXPECT_EQ(identities[0], identities[1]) << op;
  EXPECT_EQ(identities[1], identities[2]) << op;
}

// The first call of an op has no plan yet and is boxed; the second is not.
TEST(Unboxed, GivesTheValuesAndIdentitiesOfTheBoxedCall) {
  const at::Tensor x = numbers({5, 4}) + 1, y = numbers({5, 4}).mul(0.5);
  const std::vector<int64_t> rows{0};
  const std::vector<std::pair<const char*, Values>> calls{
      {"mul.Tensor", {x, y}},
      {"add.Tensor", {x, y, 3}},
      {"lerp_.Scalar", {x, y, 0.25}},
      {"addcdiv_", {x, y, x, 0.5}},
      {"sum.dim_IntList", {x, rows, true, kNone}},
      {"cat", {list({x, y}), 1}},
      {"_softmax", {x, 1, false}},
      {"gelu", {x, "tanh"}},
      {"clone", {x, kNone}},
      {"clamp", {x, kNone, 3.}},
      {"view", {x, std::vector<int64_t>{5, 2, 2}}},
      {"transpose.int", {x, 0, 1}},
      {"detach", {x}},
      {"max.dim", {x, 0, false}},
      {"native_layer_norm", {x, std::vector<int64_t>{4}, kNone, kNone, 1e-5}},
      {"slice.Tensor", {x, 1, 1, 3, 1}},
      {"_foreach_mul.List", {list({x, y}), list({y, x})}},
      {"_foreach_norm.Scalar", {list({x, y}), 2, kNone}},
  };
  run_ranks(3, [&](int) {
    for (const Axes& axes : {kRows, kColumns, kWhole}) {
      for (const auto& [op, plain] : calls) {
        // The second tensor is plain, or laid out as the first.
        for (const std::vector<Layout>& layouts :
             {std::vector{layout(axes)}, std::vector{layout(axes), layout(axes)}}) {
          expect_same(op, plain, layouts);
        }
      }
    }
  });
}

}  // namespace
}  // namespace weft
