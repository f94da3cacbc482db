#pragma once
// Convolution and pooling over split dimensions: the rows that windows reach for are fetched from the ranks that hold
// them (padding is put in as rows too), the op runs on them without padding of its own, and where the result is the
// input's gradient, rows of other ranks are sent to these, which add them up.
#include <utility>
#include <vector>

#include "local/halo.h"
#include "local/local_call.h"

namespace weft {

/// Collectives over the axes of `halos`.
class WindowedCall final : public LocalCall {
 public:
  /// `windows`: of all dimensions that the op's windows slide over, the last one first; `halos`: of those that are
  /// split.
  WindowedCall(std::vector<Halo> halos, std::vector<Window> windows)
      : halos_(std::move(halos)), windows_(std::move(windows)) {}
  void run(const OpInfo& op, Mesh mesh, std::vector<c10::IValue>& stack) const override;

 private:
  class Run;

  const std::vector<Halo> halos_;
  const std::vector<Window> windows_;
};

}  // namespace weft
