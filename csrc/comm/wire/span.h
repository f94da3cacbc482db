#pragma once
// How long collectives take: for traces, and for torch's profiler, where they have names.
#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include "base/profiler_range.h"
#include "comm/lockstep/event.h"

namespace weft::comm {

/// The time from the issue of a collective to its end, or to where it goes on by itself.
class Span {
 public:
  /// What is left to be waited for.
  struct Pending {
    int64_t number = 0;
    std::string name;  // empty: no profiler ran
  };

  explicit Span(const Event& event);
  ~Span();
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;
  /// What is pending of the innermost span on this thread.
  static Pending pending();
  /// Called by the observer: the number of what this thread has just issued, which the span is to tell the end of.
  static void number_next(int64_t number) { next_ = number; }

 private:
  const int64_t number_;  // 0: nobody asks
  const Span* outer_;
  std::string name_;
  const ProfilerRange range_;
  static inline thread_local constinit int64_t next_ = 0;
  static inline thread_local constinit const Span* current_ = nullptr;
};

/// While it lives, no trace sees the collectives of this thread: Weft's own, such as those that are timed.
class Unobserved {
 public:
  Unobserved() : outer_(std::exchange(holds_, true)) {}
  ~Unobserved() { holds_ = outer_; }
  Unobserved(const Unobserved&) = delete;
  Unobserved& operator=(const Unobserved&) = delete;
  static bool holds() { return holds_; }

 private:
  const bool outer_;
  static inline thread_local constinit bool holds_ = false;
};

/// The wait for a collective that was issued before.
class WaitSpan {
 public:
  explicit WaitSpan(const Span::Pending& pending);
  ~WaitSpan();
  WaitSpan(const WaitSpan&) = delete;
  WaitSpan& operator=(const WaitSpan&) = delete;

 private:
  const int64_t number_;
  const ProfilerRange range_;
};

/// Told of the end of a collective by its number, last of all at the end of the wait for it (null: nobody). Set once by
/// debug/trace.
inline std::atomic<void (*)(int64_t number)> span_ended{nullptr};

}  // namespace weft::comm
