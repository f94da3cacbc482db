#pragma once
// The order in which a program asks for gathers, learnt from what it did before. It follows from the program alone, so
// all ranks learn the same.
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace weft {

class GatherOrder {
 public:
  /// Requests are told apart by numbers that count from 0, the same on all ranks.
  using Number = int32_t;
  static constexpr Number kNone = -1;

  /// The request comes now. A pass ends where backward does, or where forward comes to a request a second time: what
  /// follows is not foretold across that, as the program may do anything in between. Whether one begins with it.
  bool note(Number now, bool backward);
  /// The request before the last one in this pass.
  Number before() const { return before_; }
  /// What came after `now` when it last came after `before` (kNone: at the beginning of a pass); kNone: unknown, or the
  /// end of the pass.
  Number next(Number before, Number now) const;

 private:
  std::unordered_map<uint64_t, Number> next_;
  std::vector<uint64_t> seen_;  // by number: the pass in which it came last
  uint64_t pass_ = 1;
  Number before_ = kNone, last_ = kNone;
  bool backward_ = false;  // the last one
};

}  // namespace weft
