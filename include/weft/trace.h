#pragma once
// What the ranks send each other: a record of every collective while a trace runs.
#include <weft/export.h>

#include <cstdint>
#include <string>
#include <vector>

namespace weft {

/// One collective.
struct TraceRow {
  std::string op;        // the op that caused it: "mm", "add_.Tensor", "full_tensor", "gradient"
  std::string kind;      // "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast"
  std::string axis;      // name of the mesh axis it ran over
  int64_t bytes = 0;     // that this rank sends: all-reduce 2(n-1)/n of the tensor, the others (n-1)/n
  std::string path;      // of the variable it came from; empty: none among the op's operands
  int64_t start = 0;     // when it was issued, in nanoseconds of the steady clock
  int64_t duration = 0;  // nanoseconds until its result was there, waits for it included
  /// In a backward pass the sequence number (at::sequence_number) of the op whose gradient was computed; else -1.
  int64_t sequence = -1;
};

/// Starts a trace of this process and returns its number. Several may run at once, each sees every collective.
WEFT_API int64_t trace_start();
/// Ends it and returns what it saw, in order. Raises ValueError where no trace of that number runs.
WEFT_API std::vector<TraceRow> trace_stop(int64_t trace);

/// A trace as long as it lives.
class Trace {
 public:
  Trace() : number_(trace_start()) {}
  ~Trace() {
    if (number_ >= 0) trace_stop(number_);
  }
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  /// Ends it; empty when called again.
  std::vector<TraceRow> stop() {
    if (number_ < 0) return {};
    const int64_t number = number_;
    number_ = -1;
    return trace_stop(number);
  }

 private:
  int64_t number_;
};

}  // namespace weft
