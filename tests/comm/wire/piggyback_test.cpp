#include "comm/wire/piggyback.h"

#include <ATen/ATen.h>

#include <stdexcept>

#include "comm/agree/check_same.h"
#include "comm/names.h"
#include "comm/wire/collectives.h"
#include "mesh/context.h"

namespace weft::comm {
namespace {

ReductionKind kind_of(Mesh mesh, at::ScalarType dtype = at::kFloat) {
  return {mesh, 0, Reduction::sum, dtype, at::kCPU};
}

class Value final : public PiggybackedReduction {
 public:
  Value(const ReductionKind& kind, double value, bool refuses = false)
      : kind_(kind), value_(value), refuses_(refuses) {}
  at::Tensor to_send(const ReductionKind& kind) override {
    return kind == kind_ ? at::full({2}, value_, kind.dtype) : at::Tensor();
  }
  void receive(const at::Tensor& reduced) override {
    received = reduced.clone();
    if (refuses_) throw std::runtime_error("not this");
  }
  at::Tensor received;

 private:
  const ReductionKind kind_;
  const double value_;
  const bool refuses_;
};

std::shared_ptr<Value> waiting(const ReductionKind& kind, double value, bool refuses = false) {
  auto piggybacked = std::make_shared<Value>(kind, value, refuses);
  PiggybackedReductions::wait_for_carrier(piggybacked);
  return piggybacked;
}

bool is(const at::Tensor& x, double value) { return x.defined() && at::equal(x, at::full_like(x, value)); }

TEST(PiggybackedReductions, AreSentTogetherWhenOneIsNeeded) {
  const Sent sent;
  run_ranks(3, [](int rank) {
    const auto first = waiting(kind_of(line(3)), rank), other = waiting(kind_of(line(3), at::kDouble), 1);
    const auto second = waiting(kind_of(line(3)), 10);
    PiggybackedReductions::finish(*second, kind_of(line(3)));
    EXPECT_TRUE(is(first->received, 3) && is(second->received, 30));
    EXPECT_FALSE(other->received.defined());
    PiggybackedReductions::finish(*second, kind_of(line(3)));  // it has arrived
    EXPECT_TRUE(PiggybackedReductions::leave(*other));
    EXPECT_FALSE(PiggybackedReductions::leave(*other));
  });
  EXPECT_EQ(sent.count(), 3);  // one on each rank
}

TEST(PiggybackedReductions, DoNotWaitInAnyNumber) {
  run_ranks(2, [](int) {
    int waited = 0;
    const auto kind = kind_of(line(2));
    while (PiggybackedReductions::wait_for_carrier(std::make_shared<Value>(kind, 1))) ++waited;
    EXPECT_EQ(waited, 63);
    const auto last = waiting(kind, 1);
    PiggybackedReductions::finish(*last, kind);
    EXPECT_TRUE(PiggybackedReductions::wait_for_carrier(std::make_shared<Value>(kind, 1)));
  });
}

TEST(PiggybackedReductions, GoWithTheCarrierThatTakesThem) {
  run_ranks(2, [](int rank) {
    struct Late final : CarryingReduction {
      void finish() override {
        const at::Tensor flat = piggybacked.parts().at(0);
        all_reduce_coalesced_({flat}, Reduction::sum, line(2), 0)->wait();
        piggybacked.receive(flat);
      }
      PiggybackedReductions piggybacked;
    };
    const auto piggybacked = waiting(kind_of(line(2)), rank + 1);
    const auto carrier = std::make_shared<Late>();
    EXPECT_TRUE(PiggybackedReductions::take_along(kind_of(line(2), at::kHalf), carrier).parts().empty());
    carrier->piggybacked = PiggybackedReductions::take_along(kind_of(line(2)), carrier);
    EXPECT_FALSE(PiggybackedReductions::leave(*piggybacked));
    PiggybackedReductions::finish(*piggybacked, kind_of(line(2)));
    EXPECT_TRUE(is(piggybacked->received, 3));
  });
}

TEST(PiggybackedReductions, AllReceiveTheirsBeforeAnErrorIsRaised) {
  const auto errors = errors_of_ranks(2, [](int) {
    const auto refuses = waiting(kind_of(line(2)), 1, true), other = waiting(kind_of(line(2)), 2);
    try {
      PiggybackedReductions::finish(*other, kind_of(line(2)));
    } catch (const std::runtime_error&) {
      EXPECT_TRUE(is(refuses->received, 2) && is(other->received, 4));
      throw;
    }
  });
  EXPECT_THAT(errors, Each(HasSubstr("not this")));
}

// The hash travels among sums of any real dtype, and comes out whole.
TEST(PiggybackedReductions, TakeChecksAlong) {
  for (at::ScalarType dtype : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16}) {
    for (bool differs : {false, true}) {
      const auto errors = errors_of_ranks(3, [&](int rank) {
        check_same_soon({7, differs && rank == 1}, "what was given", line(3));
        const auto piggybacked = waiting(kind_of(line(3), dtype), 1);
        PiggybackedReductions::finish(*piggybacked, kind_of(line(3), dtype));
      });
      const std::string expected = "[W090] what was given must be the same on all ranks, but rank 1 differs";
      for (const std::string& error : errors) EXPECT_EQ(error.substr(0, expected.size()), differs ? expected : "");
    }
  }
}

// Where no carrier came by the last time, the next check leaves at once and is finished in passing.
TEST(PiggybackedReductions, ChecksWithoutACarrierTravelAlone) {
  const Sent sent;
  const auto collective = [](int64_t n) { all_gather(at::ones({1}), 0, std::vector<int64_t>(n, 1), line(n), 0); };
  run_ranks(2, [&](int) {
    check_same_soon({1}, "it", line(2));
    collective(2);
    check_same_soon({1}, "it", line(2));
    collective(2);
    finish_checks();
  });
  EXPECT_EQ(sent.count(), 2 * 4);
  const auto errors = errors_of_ranks(2, [&](int rank) {
    check_same_soon({rank}, "it", line(2));
    collective(2);
  });
  EXPECT_THAT(errors, Each(HasSubstr("it must be the same")));
}

}  // namespace
}  // namespace weft::comm
