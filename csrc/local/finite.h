#pragma once
// weft::check_finite: what an op made of which operands, and whether it is finite.
#include <ATen/core/Tensor.h>

#include <atomic>
#include <string>
#include <vector>

#include "rules/op_info.h"

namespace weft {

namespace finite_detail {
inline std::atomic<bool> on{false};
}

inline bool checks_finite() { return finite_detail::on.load(std::memory_order_relaxed); }

/// What there is in a tensor of real or complex numbers.
struct NotFinite {
  bool nan = false, positive = false, negative = false;
  bool any() const { return nan || positive || negative; }
  NotFinite& operator|=(const NotFinite& other);
};

/// One call: told of all operands and numbers before it runs, then of the stack with its results.
class FiniteCheck {
 public:
  explicit FiniteCheck(const OpInfo& op) : op_(op) {}
  /// `path` of the variable that it is or is a view of; empty: none.
  void operand(at::Tensor local, const std::string& path, bool written);
  void number(const c10::IValue& value);
  /// Raises RuntimeError for a result that is not finite.
  void results(const std::vector<c10::IValue>& stack) const;

 private:
  struct Operand {
    at::Tensor local;
    std::string path;
    bool written;
    NotFinite before;  // of one that is written
  };
  const OpInfo& op_;
  std::vector<Operand> operands_;
  NotFinite given_;  // as numbers
};

}  // namespace weft
