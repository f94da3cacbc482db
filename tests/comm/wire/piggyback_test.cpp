#include "comm/wire/riders.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

#include "comm/agree/check_same.h"
#include "comm/lockstep/event.h"
#include "comm/wire/collectives.h"
#include "mesh/context.h"
#include "support/run_ranks.h"

namespace weft::comm {
namespace {

using test::errors_of_ranks;
using test::line;
using test::run_ranks;
using testing::Each;
using testing::HasSubstr;

Ride ride_of(Mesh mesh, at::ScalarType dtype = at::kFloat) { return {mesh, 0, Reduction::sum, dtype, at::kCPU}; }

class Value final : public Rider {
 public:
  Value(const Ride& ride, double value, bool refuses = false) : ride_(ride), value_(value), refuses_(refuses) {}
  at::Tensor to_send(const Ride& ride) override {
    return ride == ride_ ? at::full({2}, value_, ride.dtype) : at::Tensor();
  }
  void receive(const at::Tensor& reduced) override {
    received = reduced.clone();
    if (refuses_) throw std::runtime_error("not this");
  }
  at::Tensor received;

 private:
  const Ride ride_;
  const double value_;
  const bool refuses_;
};

std::shared_ptr<Value> waiting(const Ride& ride, double value, bool refuses = false) {
  auto rider = std::make_shared<Value>(ride, value, refuses);
  Riders::wait_for_ride(rider);
  return rider;
}

std::atomic<int64_t> events{0};
struct Counted {
  Counted() {
    events = 0;
    observer.store([](const Event&) { ++events; });
  }
  ~Counted() { observer.store(nullptr); }
};

bool is(const at::Tensor& x, double value) { return x.defined() && at::equal(x, at::full_like(x, value)); }

TEST(Riders, AreSentTogetherWhenOneIsNeeded) {
  const Counted counted;
  run_ranks(3, [](int rank) {
    const auto first = waiting(ride_of(line(3)), rank), other = waiting(ride_of(line(3), at::kDouble), 1);
    const auto second = waiting(ride_of(line(3)), 10);
    Riders::finish(*second, ride_of(line(3)));
    EXPECT_TRUE(is(first->received, 3) && is(second->received, 30));
    EXPECT_FALSE(other->received.defined());
    Riders::finish(*second, ride_of(line(3)));  // it has arrived
    EXPECT_TRUE(Riders::leave(*other));
    EXPECT_FALSE(Riders::leave(*other));
  });
  EXPECT_EQ(events, 3);  // one on each rank
}

TEST(Riders, DoNotWaitInAnyNumber) {
  run_ranks(2, [](int) {
    int waited = 0;
    const auto ride = ride_of(line(2));
    while (Riders::wait_for_ride(std::make_shared<Value>(ride, 1))) ++waited;
    EXPECT_EQ(waited, 63);
    const auto last = waiting(ride, 1);
    Riders::finish(*last, ride);
    EXPECT_TRUE(Riders::wait_for_ride(std::make_shared<Value>(ride, 1)));
  });
}

TEST(Riders, GoWithTheCarrierThatTakesThem) {
  run_ranks(2, [](int rank) {
    struct Late final : Carrier {
      void finish() override {
        const at::Tensor flat = riders.parts().at(0);
        all_reduce_coalesced_({flat}, Reduction::sum, line(2), 0)->wait();
        riders.receive(flat);
      }
      Riders riders;
    };
    const auto rider = waiting(ride_of(line(2)), rank + 1);
    const auto carrier = std::make_shared<Late>();
    EXPECT_TRUE(Riders::board(ride_of(line(2), at::kHalf), carrier).parts().empty());
    carrier->riders = Riders::board(ride_of(line(2)), carrier);
    EXPECT_FALSE(Riders::leave(*rider));
    Riders::finish(*rider, ride_of(line(2)));
    EXPECT_TRUE(is(rider->received, 3));
  });
}

TEST(Riders, AllReceiveTheirsBeforeAnErrorIsRaised) {
  const auto errors = errors_of_ranks(2, [](int) {
    const auto refuses = waiting(ride_of(line(2)), 1, true), other = waiting(ride_of(line(2)), 2);
    try {
      Riders::finish(*other, ride_of(line(2)));
    } catch (const std::runtime_error&) {
      EXPECT_TRUE(is(refuses->received, 2) && is(other->received, 4));
      throw;
    }
  });
  EXPECT_THAT(errors, Each(HasSubstr("not this")));
}

// The hash rides among sums of any real dtype, and comes out whole.
TEST(Riders, ChecksRideToo) {
  for (at::ScalarType dtype : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16}) {
    for (bool differs : {false, true}) {
      const auto errors = errors_of_ranks(3, [&](int rank) {
        check_same_soon({7, differs && rank == 1}, "what was given", line(3));
        const auto rider = waiting(ride_of(line(3), dtype), 1);
        Riders::finish(*rider, ride_of(line(3), dtype));
      });
      const std::string expected = "what was given must be the same on all ranks, but rank 1 differs";
      for (const std::string& error : errors) EXPECT_EQ(error.substr(0, expected.size()), differs ? expected : "");
    }
  }
}

// Where no ride came by the last time, the next check leaves at once and is finished in passing.
TEST(Riders, ChecksWithoutARideTravelAlone) {
  const Counted counted;
  const auto collective = [](int64_t n) { all_gather(at::ones({1}), 0, std::vector<int64_t>(n, 1), line(n), 0); };
  run_ranks(2, [&](int) {
    check_same_soon({1}, "it", line(2));
    collective(2);
    check_same_soon({1}, "it", line(2));
    collective(2);
    finish_checks();
  });
  EXPECT_EQ(events, 2 * 4);
  const auto errors = errors_of_ranks(2, [&](int rank) {
    check_same_soon({rank}, "it", line(2));
    collective(2);
  });
  EXPECT_THAT(errors, Each(HasSubstr("it must be the same")));
}

}  // namespace
}  // namespace weft::comm
