#pragma once
// Gathered variables that stay from forward until backward has used them. What stays follows from program order, so it
// is the same on all ranks.
#include <ATen/core/Tensor.h>

#include <unordered_map>
#include <vector>

#include "redistribute/gather_order.h"
#include "redistribute/gather_request.h"

namespace weft {

class KeptGathers {
 public:
  using Number = GatherOrder::Number;
  using Moment = GatherRequest::Moment;

  /// A request's number, the next of all: which of those before it sends the same.
  void add(const std::vector<GatherRequest>& requests);
  /// Whether the request comes in forward and backward will ask for the same, as it did before.
  bool is_for_backward(const GatherRequest& request, Number number) const {
    return request.is_forward() && again_[same_[number]];
  }
  /// Whether both send the same.
  bool are_same(Number a, Number b) const { return same_[a] == same_[b]; }

  /// One more use that backward will come back to.
  void keep(Number number, const Moment& moment, const at::Tensor& gathered);
  bool has(Number number) const { return kept_.find(same_[number]) != kept_.end(); }
  /// What stays for that request; undefined: nothing, or it has been written since. A backward use is counted, and the
  /// last one frees it.
  at::Tensor take(const GatherRequest& request, Number number, const ShardedTensorImpl& operand);
  bool empty() const { return kept_.empty(); }
  void clear() { kept_.clear(); }

 private:
  struct Kept {
    Moment moment;
    at::Tensor gathered;
    int uses = 0;  // that backward has not come back to
  };
  std::vector<Number> same_;  // by number: the first one that sends the same
  std::vector<bool> again_;   // by that: whether backward asks for it
  std::unordered_map<Number, Kept> kept_;
};

}  // namespace weft
