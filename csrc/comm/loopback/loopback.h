#pragma once
// A world whose ranks are threads of this process, for tests: c10d groups over shared memory that reduce in rank order
// (so the same bits each run), find out when ranks disagree about a collective, and fail on purpose where told to.
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "mesh/context.h"

namespace weft::comm {

struct LoopbackOptions {
  /// How long a rank waits for the others. The error names the collective and the ranks that came.
  std::chrono::milliseconds timeout{20000};
  /// The name that the backend goes by: "gloo" or "nccl" make comm take its way for these.
  std::string backend = "gloo";
  /// What the ranks' groups hold; null: one of its own.
  c10::intrusive_ptr<c10d::Store> store;
};

/// What is to go wrong at collective number `collective` (from 0, over all groups) of a rank.
struct LoopbackFault {
  enum Kind { drop, delay, raise } kind = drop;  // never reaches the others; reaches them late; fails at once
  int rank = 0;
  int64_t collective = 0;
  std::chrono::milliseconds time{0};  // of a delay
};

/// A handle: copies are the same world. Once anything went wrong (ranks disagree, one ended, a timeout), every rank of
/// the world gets the same error from each collective, open or new.
class LoopbackWorld {
 public:
  explicit LoopbackWorld(int size, LoopbackOptions options = {});

  /// The context of a rank: the world's group and groups of some of its ranks.
  std::unique_ptr<Context> make_context(int rank);
  /// The group of all ranks, or of some (rising, `rank` among them; the n-th one that each of them asks for).
  Group group(int rank);
  Group group(int rank, const std::vector<int>& ranks);

  void inject(LoopbackFault fault);
  /// The rank takes no further part: whoever waits for it, now or later, is told so at once.
  void end(int rank);

  struct State;

 private:
  explicit LoopbackWorld(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace weft::comm
