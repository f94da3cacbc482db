#pragma once
// Small reductions that are piggybacked on another: they wait for the first all-reduce of their kind, which takes them
// along, so that they cost nothing of their own. Those that are needed before one comes travel by themselves, together.
// Both follow from program order, so every rank sends the same.
#include <ATen/core/Tensor.h>
#include <weft/layout.h>

#include <memory>
#include <vector>

#include "tensor/identity.h"

namespace weft::comm {

/// An all-reduce that takes others along.
struct CarryingReduction {
  virtual ~CarryingReduction() = default;
  /// Waits until it has arrived, and those with it.
  virtual void finish() = 0;
};

/// What all values in one all-reduce have in common.
struct ReductionKind {
  Mesh mesh;
  int axis;
  Reduction reduction;
  c10::ScalarType dtype;
  c10::Device device;
  bool operator==(const ReductionKind&) const = default;
};

class PiggybackedReduction {
 public:
  virtual ~PiggybackedReduction() = default;
  /// What it would send in such an all-reduce: flat, contiguous, of its dtype and on its device. Undefined: it cannot
  /// go there.
  virtual at::Tensor to_send(const ReductionKind& kind) = 0;
  /// What it has sent, reduced. May raise, the same on all ranks.
  virtual void receive(const at::Tensor& reduced) = 0;

 protected:
  Identity identity = 0;  // of what it sends; 0: of no matter

 private:
  friend class PiggybackedReductions;
  std::weak_ptr<CarryingReduction> carrier_;
};

/// Those in one all-reduce. The carrier sends `parts`, and afterwards calls `receive` with them reduced.
class PiggybackedReductions {
 public:
  /// All that wait and can go there; they wait no longer.
  static PiggybackedReductions take_along(const ReductionKind& kind, const std::shared_ptr<CarryingReduction>& carrier);

  const std::vector<at::Tensor>& parts() const { return parts_; }
  /// One identity of all together.
  Identity identity() const { return identity_; }
  /// `flat`: the parts one after the other. All receive theirs, then the first error is raised.
  void receive(const at::Tensor& flat);

  /// From now on it waits for a carrier. False: so many do that it had better be finished at once.
  static bool wait_for_carrier(std::shared_ptr<PiggybackedReduction> reduction);
  /// Whether it still does; if so, it does no longer.
  static bool leave(const PiggybackedReduction& reduction);
  /// Waits for the carrier that has taken it; with none, sends all that wait and are of that kind.
  static void finish(const PiggybackedReduction& reduction, const ReductionKind& kind);

 private:
  std::vector<std::shared_ptr<PiggybackedReduction>> reductions_;
  std::vector<at::Tensor> parts_;
  Identity identity_ = 0;
};

}  // namespace weft::comm
