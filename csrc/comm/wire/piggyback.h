#pragma once
// Small values that wait for a collective to ride in: the first one that reduces as they need it takes them along, so
// that they cost nothing of their own. Those that are needed before one comes travel by themselves, together. Both
// follow from program order, so every rank sends the same.
#include <ATen/core/Tensor.h>
#include <weft/layout.h>

#include <memory>
#include <vector>

#include "tensor/identity.h"

namespace weft::comm {

/// An all-reduce that takes riders along.
struct Carrier {
  virtual ~Carrier() = default;
  /// Waits until it has arrived, and its riders with it.
  virtual void finish() = 0;
};

/// What all values in one all-reduce have in common.
struct Ride {
  Mesh mesh;
  int axis;
  Reduction reduction;
  c10::ScalarType dtype;
  c10::Device device;
  bool operator==(const Ride&) const = default;
};

class Rider {
 public:
  virtual ~Rider() = default;
  /// What it would send in such an all-reduce: flat, contiguous, of its dtype and on its device. Undefined: it cannot
  /// ride there.
  virtual at::Tensor to_send(const Ride& ride) = 0;
  /// What it has sent, reduced. May raise, the same on all ranks.
  virtual void receive(const at::Tensor& reduced) = 0;

 protected:
  Identity identity = 0;  // of what it sends; 0: of no matter

 private:
  friend class Riders;
  std::weak_ptr<Carrier> carrier_;
};

/// Those in one all-reduce. The carrier sends `parts`, and afterwards calls `receive` with them reduced.
class Riders {
 public:
  /// All that wait and can ride there; none wait for it any longer.
  static Riders board(const Ride& ride, const std::shared_ptr<Carrier>& carrier);

  const std::vector<at::Tensor>& parts() const { return parts_; }
  /// Of all together.
  Identity identity() const { return identity_; }
  /// `flat`: the parts one after the other. All receive theirs, then the first error is raised.
  void receive(const at::Tensor& flat);

  /// From now on it waits for a ride. False: so many do that it had better be finished at once.
  static bool wait_for_ride(std::shared_ptr<Rider> rider);
  /// Whether it still does; if so, it does no longer.
  static bool leave(const Rider& rider);
  /// Waits for the carrier that has the rider on board; with none, sends all that wait and can ride so.
  static void finish(const Rider& rider, const Ride& ride);

 private:
  std::vector<std::shared_ptr<Rider>> riders_;
  std::vector<at::Tensor> parts_;
  Identity identity_ = 0;
};

}  // namespace weft::comm
