#pragma once
// What ranks write in the world's store for the others to read when something has gone wrong. Internal to failures.cpp.
// Whatever stands there is checked before it is used: the store may be shared with strangers. No call waits for more
// than a few seconds, by raising then: TCP itself waits a quarter of an hour for a store that cannot be reached any
// more.
#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "comm/lockstep/timed_calls.h"

namespace weft::comm {

/// A kernel's failure.
struct Failure {
  int64_t rank = 0;         // less: of no rank alone
  int64_t collectives = 0;  // asked for before, by that rank
  std::string op{}, type{}, message{};

  bool same_point(const Failure& other) const { return collectives == other.collectives && op == other.op; }
  std::string str() const;
};

class FailureLog {
 public:
  struct Entry {
    int64_t writer = 0;
    bool parted = false;  // the writer found that the ranks parted at this failure; else it is its own
    Failure failure;
  };

  /// `calls` must live as long as it.
  FailureLog(const c10::intrusive_ptr<c10d::Store>& store, int64_t ranks, TimedCalls& calls);
  /// How long ranks are waited for.
  std::chrono::milliseconds patience() const { return patience_; }

  void write(const Entry& entry);
  /// The next entry, if it is there. One that no rank can have written is read as that of a writer that found the ranks
  /// parted, with a message that names the key.
  std::optional<Entry> read();

  /// What the rank has asked for lately, and which ops it ran.
  struct Calls {
    std::string collectives, ops;
  };
  void write_calls(int64_t rank, const Calls& calls);
  /// What that rank wrote last; empty: nothing yet, or nothing that a rank can have written.
  Calls calls_of(int64_t rank);
  /// Whether no other rank said so before.
  bool first_to_see_difference();

  void come_to(int64_t meeting);
  /// How many ranks.
  int64_t have_come_to(int64_t meeting);

 private:
  std::optional<std::string> value(const std::string& key);
  int64_t add(const std::string& key, int64_t n);

  const int64_t ranks_;
  std::chrono::milliseconds patience_;
  TimedCalls& calls_;
  c10::intrusive_ptr<c10d::Store> store_;
  int64_t next_ = 1;
};

}  // namespace weft::comm
