#include "comm/lockstep/failure.h"

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include <atomic>
#include <barrier>
#include <chrono>
#include <thread>

#include "comm/names.h"
#include "comm/wire/collectives.h"

namespace weft::comm {
namespace {

// Counts every use of it.
class CountingStore : public c10d::HashStore {
 public:
  std::atomic<int> uses{0};

  c10::intrusive_ptr<c10d::Store> clone() override { return ++uses, c10d::HashStore::clone(); }
  void set(const std::string& key, const std::vector<uint8_t>& value) override { ++uses, HashStore::set(key, value); }
  std::vector<uint8_t> get(const std::string& key) override { return ++uses, HashStore::get(key); }
  int64_t add(const std::string& key, int64_t value) override { return ++uses, HashStore::add(key, value); }
  bool check(const std::vector<std::string>& keys) override { return ++uses, HashStore::check(keys); }
};

at::Tensor sum(int n) { return all_reduce(at::ones({2}), Reduction::sum, line(n), 0); }

void refuse(const std::string& op) {
  run_local(op, [] { TORCH_CHECK_INDEX(false, "index 9 is too large"); });
}

const auto kTold = AllOf(HasSubstr("[embedding] failed on rank 1: index 9 is too large"), HasSubstr("out of step"));

TEST(Failure, OnOneRankIsRaisedByAllThatWait) {
  for (int n : {2, 4}) {
    std::barrier together(n);
    run_ranks(n, [&](int rank) {
      sum(n);
      std::string error;
      const double took = seconds([&] {
        error = error_of<c10::IndexError>([&] {
          if (rank == 1) refuse("embedding");
          sum(n);
        });
      });
      EXPECT_LT(took, 5);
      if (rank == 1) {
        EXPECT_THAT(error, AllOf(HasSubstr("index 9 is too large"), HasSubstr("the other ranks are told")));
      } else {
        EXPECT_THAT(error, kTold);
      }
      together.arrive_and_wait();  // nobody has left
      for (int i = 0; i < 2; ++i) {
        EXPECT_LT(seconds([&] { error = error_of<c10::Error>([&] { sum(n); }); }), 5);
        EXPECT_THAT(error, AllOf(kTold, HasSubstr("the ranks are out of step since")));
      }
      together.arrive_and_wait();
    });
  }
}

TEST(Failure, IsToldToRanksThatWaitForOthers) {
  // Ranks 2 and 3 wait for 0 and 1, of which 1 has failed and 0 waits for it.
  const Mesh mesh = DeviceMesh::get({2, 2}, {"a", "b"});
  std::barrier together(4);
  run_ranks(4, [&](int rank) {
    const std::string error = error_of<c10::IndexError>([&] {
      if (rank == 1) refuse("embedding");
      all_reduce(at::ones({2}), Reduction::sum, mesh, 1);
      all_reduce(at::ones({2}), Reduction::sum, mesh, 0);
    });
    EXPECT_THAT(error, HasSubstr("index 9 is too large"));
    EXPECT_EQ(error.find("[embedding] failed on rank 1:") == 0, rank != 1);
    together.arrive_and_wait();
  });
}

TEST(Failure, IsToldThoughTheRankHasLeft) {
  const auto errors = errors_of_ranks(2, [&](int rank) {
    if (rank == 1) refuse("embedding");
    sum(2);
  });
  EXPECT_THAT(errors[0], kTold);
}

TEST(Failure, IsSeenWhileABucketIsWaitedFor) {
  std::barrier together(2);
  run_ranks(2, [&](int rank) {
    const std::string error = error_of<c10::IndexError>([&] {
      if (rank == 1) refuse("embedding");
      all_reduce_coalesced_({at::ones({2})}, Reduction::sum, line(2), 0)->wait();
    });
    EXPECT_THAT(error, HasSubstr(rank == 0 ? "[embedding] failed on rank 1: index 9" : "the other ranks are told"));
    together.arrive_and_wait();
  });
}

TEST(Failure, OfAllRanksLeavesThemInStep) {
  run_ranks(4, [](int rank) {
    for (int i = 0; i < 3; ++i) {
      std::this_thread::sleep_for(milliseconds(100 * ((rank + i) % 4)));
      EXPECT_THAT(error_of<c10::IndexError>([] { refuse("embedding"); }), HasSubstr("index 9 is too large"));
      if (i == 1) continue;  // twice between two collectives
      EXPECT_EQ(sum(4)[0].item<float>(), 4);
    }
  });
}

TEST(Failure, OfARankAheadIsNotMineYet) {
  // Rank 0 fails and waits long before rank 1 comes to the same failure, by way of a collective that rank 2 is late
  // for.
  const Mesh mesh = DeviceMesh::get({3, 1}, {"a", "b"});
  run_ranks(3, [&](int rank) {
    if (rank == 2) std::this_thread::sleep_for(milliseconds(600));
    all_reduce(at::ones({2}), Reduction::sum, mesh, 0);
    if (rank == 1) std::this_thread::sleep_for(milliseconds(600));
    EXPECT_ANY_THROW(refuse("embedding"));
    EXPECT_EQ(sum(3)[0].item<float>(), 3);
  });
}

TEST(Failure, OfDifferentOpsOrAtDifferentPointsParts) {
  std::barrier together(2);
  run_ranks(2, [&](int rank) {
    EXPECT_ANY_THROW(refuse(rank ? "gather" : "embedding"));
    EXPECT_THAT(error_of<c10::Error>([] { sum(2); }), HasSubstr("] failed on rank "));
    together.arrive_and_wait();
  });
  run_ranks(2, [&](int rank) {
    const std::string error = error_of<c10::Error>([&] {
      if (rank == 0) {
        EXPECT_ANY_THROW(refuse("embedding"));
      }
      sum(2);  // rank 0 does not send for what rank 1 knows nothing of
      sum(2);
    });
    EXPECT_THAT(error, HasSubstr("[embedding] failed on rank 0"));
    together.arrive_and_wait();
  });
}

TEST(Failure, KeepsTypes) {
  std::barrier together(2);
  auto type_of_other = [&](const std::function<void()>& kernel, auto check) {
    run_ranks(2, [&](int rank) {
      try {
        if (rank == 1) run_local("op", kernel);
        sum(2);
      } catch (const std::exception& e) {
        if (rank == 0) check(e);
      }
      together.arrive_and_wait();
    });
  };
  type_of_other([] { TORCH_CHECK_VALUE(false, "no"); },
                [](auto& e) { EXPECT_NE(dynamic_cast<const c10::ValueError*>(&e), nullptr); });
  type_of_other([] { throw std::runtime_error("two\nlines"); },
                [](auto& e) { EXPECT_THAT(e.what(), HasSubstr("[op] failed on rank 1: two\nlines")); });
}

TEST(Failure, StoreIsLeftAloneWhileNothingFails) {
  LoopbackOptions options;
  const auto store = c10::make_intrusive<CountingStore>();
  options.store = store;
  auto body = [](int rank) {
    for (int i = 0; i < 20; ++i) {
      run_local("add", [] {});
      sum(2);
    }
    error_of<c10::Error>([] { TORCH_CHECK_VALUE(false, "an error that is not a kernel's"); });
  };
  run_ranks(2, body, options);
  EXPECT_EQ(store->uses, 0);
  run_ranks(2, body, options, {{LoopbackFault::delay, 0, 5, milliseconds(500)}});
  EXPECT_GT(store->uses, 0);
  EXPECT_EQ(store->getNumKeys(), 1);  // which collectives the rank that waited has asked for
}

// Does not let itself be reached the first time.
class LateStore : public CountingStore {
 public:
  c10::intrusive_ptr<c10d::Store> clone() override {
    TORCH_CHECK(uses++ > 0, "not yet");
    return CountingStore::clone();
  }
};

TEST(Failure, IsToldThoughTheStoreOnceDidNotAnswer) {
  LoopbackOptions options;
  const auto store = c10::make_intrusive<LateStore>();
  options.store = store;
  std::barrier together(2);
  auto body = [&](int rank) {
    std::string error;
    const double took = seconds([&] {
      error = error_of<c10::IndexError>([&] {
        if (rank == 1) {
          while (store->uses == 0) std::this_thread::sleep_for(milliseconds(10));  // rank 0 waits, and looked in vain
          refuse("embedding");
        }
        sum(2);
      });
    });
    EXPECT_LT(took, 5);
    EXPECT_THAT(error, HasSubstr(rank == 0 ? "[embedding] failed on rank 1: index 9" : "the other ranks are told"));
    together.arrive_and_wait();
  };
  run_ranks(2, body, options);
}

TEST(Failure, AloneIsNobodysBusiness) {
  const Context alone({});
  const ContextGuard guard(const_cast<Context*>(&alone));
  EXPECT_THAT(error_of<c10::Error>([] { refuse("embedding"); }), Not(HasSubstr("told")));
}

}  // namespace
}  // namespace weft::comm
