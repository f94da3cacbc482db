#include "comm/loopback/loopback.h"

#include <ATen/ATen.h>

#include <chrono>
#include <stdexcept>

#include "comm/names.h"
#include "comm/wire/collectives.h"

namespace weft::comm {
namespace {

at::Tensor sum(const at::Tensor& x, Mesh mesh, int axis = 0) { return all_reduce(x, Reduction::sum, mesh, axis); }

LoopbackOptions patient(int ms) {
  LoopbackOptions options;
  options.timeout = milliseconds(ms);
  return options;
}

// Straight from the group, past what comm compares.
void raw_sum(at::Tensor x, c10d::ReduceOp::RedOpType op = c10d::ReduceOp::SUM, Mesh mesh = nullptr, int axis = 0) {
  std::vector<at::Tensor> tensors{std::move(x)};
  c10d::AllreduceOptions options;
  options.reduceOp = op;
  const Group group = mesh == nullptr ? context().world() : context().bind(mesh).groups[axis];
  group->allreduce(tensors, options)->wait();
}

TEST(Loopback, ReducesToTheSameBitsEachTime) {
  std::vector<at::Tensor> first(4);
  for (int round = 0; round < 5; ++round) {
    run_ranks(4, [&](int rank) {
      const at::Tensor part = at::linspace(0.1 * rank, 1.7, 1000, at::kFloat).sin() * (rank % 2 ? 1e4 : 1e-3);
      const at::Tensor total = sum(part, line(4));
      if (round == 0) first[rank] = total;
      EXPECT_TRUE(at::equal(total, first[rank]));
    });
  }
  for (const at::Tensor& t : first) EXPECT_TRUE(at::equal(t, first[0]));
}

TEST(Loopback, ManyCollectivesOnSeveralGroups) {
  run_ranks(4, [](int rank) {
    Mesh mesh = DeviceMesh::get({2, 2}, {"a", "b"});
    at::Tensor x = at::full({3}, rank, at::kLong);
    for (int i = 0; i < 200; ++i) x = sum(sum(x, mesh, i % 2).remainder(7), line(4)).remainder(11) + rank;
    EXPECT_TRUE(at::equal(x - rank, broadcast(x - rank, 0, line(4), 0)));
  });
}

TEST(Loopback, AMissingRankIsNamedAfterTheTimeout) {
  const double took = seconds([] {
    const auto errors = errors_of_ranks(3, [](int) { sum(sum(at::ones({4}), line(3)), line(3)); }, patient(300),
                                        {{LoopbackFault::drop, 1, 1}});
    EXPECT_THAT(errors, Each(AllOf(HasSubstr("all_reduce sum of Float [4] (number 1 of the group of ranks 0, 1, 2): "
                                             "after 300 ms these ranks have come: 0, 2; these have not: 1"),
                                   HasSubstr("its last: all_reduce sum of Float [4]"))));
  });
  EXPECT_LT(took, 5);
}

TEST(Loopback, DifferentCollectivesFailOnAllRanksAtOnce) {
  const double took = seconds([] {
    auto errors = errors_of_ranks(3, [](int rank) {
      std::vector<at::Tensor> tensors{at::ones({4})};
      rank == 1 ? static_cast<void>(context().world()->broadcast(tensors)->wait()) : raw_sum(tensors[0]);
    });
    EXPECT_THAT(errors,
                Each(AllOf(HasSubstr("ranks disagree about collective 0 of the group of ranks 0, 1, 2"),
                           HasSubstr("all_reduce sum of Float [4]"), HasSubstr("broadcast from 0 of Float [4]"))));
    errors = errors_of_ranks(2, [](int rank) { raw_sum(at::ones({4 + rank})); });
    EXPECT_THAT(errors, Each(AllOf(HasSubstr("Float [4]"), HasSubstr("Float [5]"))));
    errors = errors_of_ranks(2, [](int rank) { raw_sum(at::ones({4}, rank ? at::kInt : at::kFloat)); });
    EXPECT_THAT(errors, Each(AllOf(HasSubstr("of Float [4]"), HasSubstr("of Int [4]"))));
    errors =
        errors_of_ranks(3, [](int rank) { raw_sum(at::ones({4}), rank ? c10d::ReduceOp::MAX : c10d::ReduceOp::MIN); });
    EXPECT_THAT(errors, Each(AllOf(HasSubstr("all_reduce min"), HasSubstr("all_reduce max"))));
    errors = errors_of_ranks(2, [](int rank) {
      at::Tensor input = at::ones({4}), output = at::ones({rank ? 5 : 3});
      std::vector<int64_t> sent = rank ? std::vector<int64_t>{1, 3} : std::vector<int64_t>{2, 2};
      std::vector<int64_t> received = rank ? std::vector<int64_t>{2, 3} : std::vector<int64_t>{2, 1};
      if (rank) std::swap(sent[0], sent[1]);
      context().world()->alltoall_base(output, input, received, sent)->wait();
    });
    EXPECT_THAT(errors, Each(HasSubstr("which expects")));
  });
  EXPECT_LT(took, 5);
}

TEST(Loopback, ADisagreementInOneGroupReachesRanksThatWaitInAnother) {
  // Ranks 2 and 3 wait for the whole world, which ranks 0 and 1 never reach.
  const auto errors = errors_of_ranks(4, [](int rank) {
    Mesh mesh = DeviceMesh::get({2, 2}, {"a", "b"});
    if (rank < 2) raw_sum(at::ones({1 + rank}), c10d::ReduceOp::SUM, mesh, 1);
    raw_sum(at::ones({2}));
  });
  EXPECT_THAT(errors, Each(HasSubstr("ranks disagree about collective 0 of the group of ranks 0, 1")));
}

TEST(Loopback, ARankThatEndsIsNotWaitedFor) {
  const double took = seconds([] {
    const auto errors = errors_of_ranks(3, [](int rank) {
      if (rank == 2) throw std::runtime_error("out of luck");
      sum(at::ones({2}), line(3));
    });
    EXPECT_THAT(errors[0], HasSubstr("waits for rank 2, which has ended"));
    EXPECT_EQ(errors[1], errors[0]);
    EXPECT_EQ(errors[2], "out of luck");
  });
  EXPECT_LT(took, 5);
}

TEST(Loopback, FailsAndLingersWhereToldTo) {
  auto body = [](int) {
    for (int i = 0; i < 3; ++i) sum(at::ones({2}), line(3));
  };
  const auto errors = errors_of_ranks(3, body, {}, {{LoopbackFault::raise, 1, 2}});
  EXPECT_THAT(errors[1], HasSubstr("all_reduce sum of Float [2] fails on rank 1, as it was told to"));
  EXPECT_THAT(errors[0], HasSubstr("fails on rank 1, as it was told to"));
  const double took = seconds([&] {
    EXPECT_THAT(errors_of_ranks(3, body, {}, {{LoopbackFault::delay, 0, 1, milliseconds(200)}}), Each(IsEmpty()));
  });
  EXPECT_GE(took, 0.2);
}

TEST(Loopback, StaysBrokenOnceItBroke) {
  const auto errors = errors_of_ranks(2, [](int rank) {
    EXPECT_ANY_THROW(raw_sum(at::ones({1 + rank})));
    raw_sum(at::ones({2}));
  });
  EXPECT_THAT(errors, Each(HasSubstr("ranks disagree about collective 0")));
}

TEST(Loopback, TellsEachRanksError) {
  try {
    run_ranks(2, [](int rank) { throw std::runtime_error(rank ? "second" : "first"); });
    FAIL();
  } catch (const std::runtime_error& e) {
    EXPECT_EQ(std::string(e.what()), "rank 0: first\nrank 1: second\n");
  }
}

}  // namespace
}  // namespace weft::comm
