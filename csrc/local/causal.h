#pragma once
// Causal attention of queries that are some of the full tensor's: they see the keys up to their own place.
#include <vector>

#include "local/local_call.h"
#include "rules/window.h"

namespace weft {

/// Runs the attention op (or its backward) with the keys that some of the queries see and a mask; gradients of keys
/// that none sees are zeros.
class CausalCall final : public LocalCall {
 public:
  /// `queries`: the places of this rank's queries.
  explicit CausalCall(const Rows& queries) : queries_(queries) {}
  void run(const OpInfo& op, Mesh mesh, std::vector<c10::IValue>& stack) const override;

 private:
  void run_masked(const OpInfo& op, std::vector<c10::IValue>& stack) const;

  const Rows queries_;
};

}  // namespace weft
