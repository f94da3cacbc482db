#include "comm/lockstep/settle.h"

#include <ATen/ATen.h>

#include <barrier>
#include <chrono>

#include "comm/lockstep/failure.h"
#include "comm/names.h"
#include "comm/wire/collectives.h"
#include "tensor/identity.h"

namespace weft::comm {
namespace {

LoopbackOptions nccl() {
  LoopbackOptions options;
  options.backend = "nccl";
  return options;
}

at::Tensor gather(const at::Tensor& x, Identity identity, int n) {
  const RunningOp running("full_tensor", identity, nullptr);
  return all_gather(x, 0, std::vector<int64_t>(n, x.size(0)), line(n), 0);
}

// Two values of one shape, in the other order on rank 1: without tags they meet.
TEST(Settle, FindsWhatMetAndDoesNotBelongTogether) {
  const auto start = std::chrono::steady_clock::now();
  const auto errors = errors_of_ranks(
      3,
      [](int rank) {
        for (Identity identity : {rank == 1 ? 8 : 7, rank == 1 ? 7 : 8}) gather(at::full({2}, identity), identity, 3);
        settle();
      },
      nccl());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_THAT(errors, Each(AllOf(HasSubstr("the ranks ask for different collectives, number 0"),
                                 HasSubstr("for [full_tensor]"), HasSubstr("of another value"))));
}

TEST(Settle, PassesWhereTheRanksAreInStep) {
  run_ranks(
      3,
      [](int) {
        settle();  // nothing was issued
        for (int i = 0; i < 3; ++i) {
          gather(at::ones({2}), 7, 3);
          if (i != 1) begin_settling();
          settle();
          settle();
        }
      },
      nccl());
}

TEST(Settle, CostsNothingWhereMessagesHaveTags) {
  LoopbackOptions options;
  options.timeout = std::chrono::milliseconds(500);
  run_ranks(
      2,
      [](int rank) {
        gather(at::ones({2}), 7, 2);
        if (rank == 0) settle();  // alone: it would wait for ever
      },
      options);
}

TEST(Settle, HearsOfAFailureOfOneRank) {
  std::barrier together(3);
  const auto errors = errors_of_ranks(
      3,
      [&](int rank) {
        gather(at::ones({2}), 7, 3);
        try {
          if (rank == 1) run_local("embedding", [] { TORCH_CHECK_INDEX(false, "index 9 is too large"); });
          settle();
        } catch (const c10::Error&) {
          together.arrive_and_wait();  // nobody has left before
          throw;
        }
      },
      nccl());
  EXPECT_THAT(errors, Each(HasSubstr("index 9 is too large")));
}

TEST(Settle, EndsWhatStillRuns) {
  // Rank 0 waits in a collective that rank 1 never issues; the error ends it.
  const auto errors = errors_of_ranks(
      2,
      [](int rank) {
        gather(at::ones({2}), 7, 2);
        std::unique_ptr<Pending> pending;
        if (rank == 0) pending = all_reduce_coalesced_({at::ones({2})}, Reduction::sum, line(2), 0);
        std::string error;
        try {
          settle();
        } catch (const c10::Error& e) {
          error = e.what_without_backtrace();
        }
        EXPECT_THAT(error, AllOf(HasSubstr("all_reduce sum over 'x' of mesh (x=2), Float on rank 0"),
                                 HasSubstr("the settling of collectives on rank 1")));
        if (pending) EXPECT_ANY_THROW(pending->wait());
      },
      nccl());
  EXPECT_THAT(errors, Each(testing::IsEmpty()));
}

}  // namespace
}  // namespace weft::comm
