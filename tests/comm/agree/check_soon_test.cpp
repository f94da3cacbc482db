// Comparisons that nobody waits for. What carries them is tested in comm/wire/piggyback_test.cpp.
#include <ATen/ATen.h>

#include "comm/agree/check_same.h"
#include "comm/names.h"
#include "comm/wire/collectives.h"
#include "comm/wire/piggyback.h"

namespace weft::comm {
namespace {

// A carrier of what waits for sums of floats over that axis.
void carry(Mesh mesh, int axis) {
  struct Carries final : PiggybackedReduction {
    at::Tensor to_send(const ReductionKind& kind) override { return at::ones({1}, kind.dtype); }
    void receive(const at::Tensor&) override {}
  };
  const auto value = std::make_shared<Carries>();
  PiggybackedReductions::wait_for_carrier(value);
  PiggybackedReductions::finish(*value, {mesh, axis, Reduction::sum, at::kFloat, at::kCPU});
}

TEST(CheckSoon, FinishesOnItsOwnOverEveryAxis) {
  const Mesh mesh = DeviceMesh::get({2, 2}, {"x", "y"}, {2, 0, 1, 3});
  for (const int other : {-1, 0, 3}) {
    const Sent sent;
    const auto errors = errors_of_ranks(4, [&](int rank) {
      check_same_soon({rank == other}, "the batch", mesh);
      finish_checks();
    });
    const std::string difference =
        "rank " + std::to_string(other) + " differs from ranks " + (other == 0 ? "1, 2, 3" : "0, 1, 2");
    const std::string text = "[W090] the batch must be the same on all ranks, but " + difference;
    EXPECT_THAT(errors, Each(other < 0 ? "" : text));
    EXPECT_EQ(sent.count(), 4 * 2);
  }
}

TEST(CheckSoon, GoesWithASumOfTheWholeMeshForNothing) {
  const Sent sent;
  const auto errors = errors_of_ranks(2, [](int rank) {
    check_same_soon({rank}, "the batch", line(2));
    carry(line(2), 0);
  });
  EXPECT_THAT(errors, Each(HasSubstr("the batch must be the same on all ranks, but rank 1 differs from rank 0")));
  EXPECT_EQ(sent.count(), 2);
}

// Along one of two axes the ranks of the other are not compared.
TEST(CheckSoon, DoesNotGoWithASumOfOneLineOfTheMesh) {
  const Mesh mesh = DeviceMesh::get({2, 2}, {"x", "y"});
  const auto errors = errors_of_ranks(4, [&](int rank) {
    check_same_soon({rank / 2}, "the batch", mesh);
    carry(mesh, 1);
  });
  EXPECT_THAT(errors, Each(HasSubstr("ranks 2, 3 differ from ranks 0, 1")));
}

TEST(CheckSoon, AnotherMeshDiffersToo) {
  const auto errors = errors_of_ranks(2, [&](int) {
    check_same_soon({1, 2}, "one", line(2));
    check_same_soon({1, 2}, "two", DeviceMesh::get({2}, {"y"}));
    finish_checks();
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
}

TEST(CheckSoon, TheFirstOfSeveralDifferencesIsRaised) {
  const auto errors = errors_of_ranks(2, [](int rank) {
    check_same_soon({1}, "the same", line(2));
    check_same_soon({rank}, "the first", line(2));
    check_same_soon({rank}, "the second", line(2));
    finish_checks();
  });
  EXPECT_THAT(errors, Each(HasSubstr("the first must be")));
}

// Where the ranks have a group for the host.
TEST(CheckSoon, NeedsNoGpuOnAMeshOfGpus) {
  const Mesh mesh = DeviceMesh::get({2}, {"x"}, {}, "cuda");
  const auto errors = errors_of_ranks(2, [&](int rank) {
    check_same_soon({rank}, "the batch", mesh);
    const ReductionKind kind{mesh, 0, Reduction::sum, at::kFloat, at::Device(at::kCUDA, 0)};
    EXPECT_THAT(PiggybackedReductions::take_along(kind, nullptr).parts(), IsEmpty());
    finish_checks();
  });
  EXPECT_THAT(errors, Each(HasSubstr("the batch must be the same on all ranks, but rank 1 differs from rank 0")));
}

TEST(CheckSoon, CostsNothingWhereThereIsNothingToCompare) {
  const Sent sent;
  run_ranks(1, [](int) {
    check_same_soon({1}, "alone", line(1));
    finish_checks();
  });
  run_ranks(2, [](int) { finish_checks(); });
  EXPECT_EQ(sent.count(), 0);
}

}  // namespace
}  // namespace weft::comm
