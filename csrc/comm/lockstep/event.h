#pragma once
// What a collective is, as those are told who count, trace and compare them.
#include <c10/core/ScalarType.h>
#include <weft/layout.h>

#include <atomic>
#include <cstdint>

namespace weft::comm {

/// Told of each collective as it is issued.
struct Event {
  const char* kind;  // "all_reduce", "all_gather", ...
  Mesh mesh = nullptr;
  int axis = -1;
  int64_t bytes = 0;  // that this rank sends, by the ring/pairwise formula: all-reduce 2(n-1)/n S, the others (n-1)/n S
  int64_t elements = 0;  // that it is about, the same on all ranks in the line
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  Reduction reduction = Reduction::none;
};

using Observer = void (*)(const Event&);
/// One per process (null: none). Set once by debug/trace.
inline std::atomic<Observer> observer{nullptr};

}  // namespace weft::comm
