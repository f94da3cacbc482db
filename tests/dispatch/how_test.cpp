// How each op is run on sharded tensors.
#include "dispatch/how.h"

#include <gtest/gtest.h>

#include "composites/random_ops.h"
#include "dispatch/indexing.h"
#include "dispatch/process_groups.h"
#include "support/boxed.h"

namespace weft {
namespace {

Special special(const std::string& name) { return special_of(OpInfo(test::op_named(name))); }
bool made_of_others(const std::string& name) { return is_made_of_others(test::op_named(name)); }

TEST(SpecialOf, IsNullForOpsThatHaveAPlan) {
  for (const char* name : {"add.Tensor", "mm", "view", "softmax.int", "_softmax", "sum.dim_IntList", "transpose.int",
                           "relu_", "embedding", "_foreach_add.Scalar"}) {
    EXPECT_EQ(special(name), nullptr) << name;
  }
}

TEST(SpecialOf, FollowsTheTableThenTagsAndSchemas) {
  const std::vector<std::pair<const char*, Special>> expected{
      {"detach", &run_alias},
      {"alias", &run_alias},
      {"detach_", &run_identity},
      {"as_strided", &run_as_strided},
      {"as_strided_", &run_in_place_view},
      {"t_", &run_in_place_view},
      {"unsqueeze_", &run_in_place_view},
      {"squeeze_.dim", &run_in_place_view},
      {"index.Tensor", &run_indexing},
      {"index_put_", &run_indexing},
      {"is_set_to", &run_is_set_to},
      {"set_.source_Tensor", &run_set},
      {"set_", &refuse_memory},
      {"resize_", &run_resize},
      {"add_.Tensor", &run_add},
      {"copy_", &run_copy},
      {"add.out", &run_out},
      {"sum.IntList_out", &run_out},
      {"normal_", &run_random},
      {"bernoulli_.float", &run_random},
      {"native_dropout", &run_decomposition},
      {"linalg_vector_norm", &run_decomposition},
      {"squeeze.dim", &run_decomposition},
      {"c10d::allreduce_", &run_collective},
      {"_c10d_functional::all_gather_into_tensor", &run_collective},
  };
  for (const auto& [name, how] : expected) EXPECT_EQ(special(name), how) << name;
}

// Their values come from a key, also where a variant writes into what it is given.
TEST(SpecialOf, AnOutVariantIsNoDecomposition) {
  EXPECT_EQ(special("linalg_vector_norm.out"), &run_out);
  EXPECT_EQ(special("squeeze_copy.dim_out"), &run_out);
}

TEST(IsMadeOfOthers, IsWhatCoreDecomposesUnlessItWritesToOut) {
  for (const char* name : {"matmul", "reshape", "softmax.int", "einsum", "layer_norm", "to.dtype"}) {
    EXPECT_TRUE(made_of_others(name)) << name;
  }
  for (const char* name : {"mm", "_softmax", "view", "add.Tensor", "matmul.out", "softmax.int_out", "add.out",
                           "silu_backward", "mish_backward"}) {
    EXPECT_FALSE(made_of_others(name)) << name;
  }
}

}  // namespace
}  // namespace weft
