// c10d's own collectives on sharded tensors: what leaves the one value as it is, and what does not.
#include "dispatch/process_groups.h"

#include <torch/csrc/distributed/c10d/Work.hpp>

#include "dispatch/names.h"
#include "mesh/context.h"

namespace weft {
namespace {

at::Tensor rows() { return distribute_tensor(numbers({5, 4}), layout(kRows)); }
c10::List<at::Tensor> list(std::vector<at::Tensor> tensors) { return c10::List<at::Tensor>(std::move(tensors)); }

Values all_reduce(const c10::List<at::Tensor>& tensors, c10d::ReduceOp::RedOpType reduction) {
  return test::call("c10d::allreduce_", {tensors, context().world(), c10::make_intrusive<c10d::ReduceOp>(reduction),
                                         c10::IValue(), true, -1});
}
Values broadcast(const c10::List<at::Tensor>& tensors) {
  return test::call("c10d::broadcast_", {tensors, context().world(), 0, 0, true, -1});
}

TEST(ProcessGroupCollectives, ThatCombineEqualValuesToTheSameLeaveThem) {
  const test::Sent sent;
  run_ranks(3, [&](int rank) {
    const at::Tensor x = rows();
    sent.clear();
    for (const auto reduction : {c10d::ReduceOp::AVG, c10d::ReduceOp::MAX, c10d::ReduceOp::MIN}) {
      const Values got = all_reduce(list({x}), reduction);
      EXPECT_TRUE(got.at(0).toTensorVector().at(0).is_same(x));
      EXPECT_TRUE(got.at(1).toCustomClass<c10d::Work>()->wait());
    }
    EXPECT_TRUE(broadcast(list({x})).at(0).toTensorVector().at(0).is_same(x));
    EXPECT_EQ(sent.count(rank), 0u);
    EXPECT_EQ(difference({x}, {numbers({5, 4})}), "");
  });
}

TEST(ProcessGroupCollectives, ThatWouldCountTheValueOncePerRankAreRefused) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows();
    EXPECT_THAT(
        error_of([&] { all_reduce(list({x}), c10d::ReduceOp::SUM); }),
        AllOf(HasSubstr("[c10d::allreduce_] got a sharded tensor"), HasSubstr(", f32[5@x, 4] over mesh (x=3): "),
              HasSubstr("a sum over 3 ranks would count it 3 times")));
    EXPECT_EQ(difference({x}, {numbers({5, 4})}), "");
  });
  run_ranks(1, [](int) {
    const at::Tensor x = distribute_tensor(numbers({5, 4}), TensorLayout::replicated(line(1), 2));
    EXPECT_NO_THROW(all_reduce(list({x}), c10d::ReduceOp::SUM));
  });
}

TEST(ProcessGroupCollectives, OfOneRanksOwnValuesAreRefused) {
  run_ranks(3, [](int) {
    const at::Tensor x = rows();
    EXPECT_THAT(error_of([&] { all_reduce(list({x, numbers({5, 4})}), c10d::ReduceOp::MAX); }),
                HasSubstr("plain tensors are in the same call"));
    const c10::List<c10::List<at::Tensor>> outputs({list({numbers({5, 4}), numbers({5, 4}), numbers({5, 4})})});
    EXPECT_THAT(error_of([&] { test::call("c10d::allgather_", {outputs, list({x}), context().world(), true, -1}); }),
                HasSubstr("no rank has one of its own to exchange"));
  });
}

TEST(IsCollective, ByTheOpsNamespace) {
  EXPECT_TRUE(is_collective(OpInfo(test::op_named("c10d::reduce_scatter_"))));
  EXPECT_TRUE(is_collective(OpInfo(test::op_named("_c10d_functional::broadcast"))));
  EXPECT_FALSE(is_collective(OpInfo(test::op_named("add.Tensor"))));
}

}  // namespace
}  // namespace weft
