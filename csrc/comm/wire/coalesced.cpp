// One collective for several tensors, not waited for.
#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include "comm/lockstep/event.h"
#include "comm/lockstep/failure.h"
#include "comm/wire/axis.h"
#include "comm/wire/buffer.h"
#include "comm/wire/collectives.h"
#include "comm/wire/reduction.h"

namespace weft::comm {
namespace {

struct Done : Pending {
  void wait() override {}
};

// Tensors that get their part of what is reduced when it is there.
class Flattened : public Pending {
 public:
  Flattened(std::vector<at::Tensor> tensors, at::Tensor sent, Reduction reduction, const Axis& line)
      : tensors_(std::move(tensors)),
        sent_(std::move(sent)),
        reduction_(reduction),
        line_(line),
        pending_(Span::pending()) {
    const c10::DeviceType device = sent_.device().type();
    watched_ = watched_backend(line, device);
    if (swaps(line, device)) {
      theirs_ = take_buffer(sent_.numel(), sent_.options());
      work_ = begin_swap_flat(line, theirs_, sent_);
      return;
    }
    if (reduces_by_gather(line, device, sent_.numel() * static_cast<int64_t>(sent_.element_size()))) {
      parts_ = take_buffer(line.size * sent_.numel(), sent_.options());
      work_ = begin_gather_flat(line, parts_, sent_);
      parts_ = parts_.view({line.size, -1});
      return;
    }
    const c10d::ReduceOp::RedOpType op = reduce_op(sent_.scalar_type(), reduction);
    sent_ = lower(sent_, reduction);
    work_ = begin_all_reduce_flat(line, sent_, op);
  }

  void wait() override {
    if (tensors_.empty()) return;
    const WithoutPythonLock unlocked;
    const OneThread alone;
    const WaitSpan span(pending_);
    if (work_) wait_for(*work_, watched_);
    const at::Tensor flat = reduced();
    int64_t offset = 0;
    for (const at::Tensor& tensor : tensors_) {
      const at::Tensor part = flat.narrow(0, offset, tensor.numel());
      offset += tensor.numel();
      if (!part.is_alias_of(tensor)) tensor.view({-1}).copy_(part);
    }
    tensors_.clear();
    sent_.reset();
    theirs_.reset();
    parts_.reset();
  }

 private:
  at::Tensor reduced() const {
    if (theirs_.defined()) return reduce_two(sent_, theirs_, line_.coordinate == 0, reduction_, sent_);
    if (parts_.defined()) return reduce_locally(by_coordinate(line_, parts_), reduction_, sent_);
    return lift(sent_, tensors_[0].scalar_type(), reduction_, line_.size);
  }

  std::vector<at::Tensor> tensors_;
  at::Tensor sent_, theirs_, parts_;  // the other rank's, or those of all ranks, where they are reduced here
  Reduction reduction_;
  const Line line_;
  c10d::Backend* watched_;
  Span::Pending pending_;
  c10::intrusive_ptr<c10d::Work> work_;
};

at::Tensor flatten(const std::vector<at::Tensor>& tensors) {
  if (tensors.size() == 1) return tensors[0].view({-1});
  std::vector<at::Tensor> flat;
  flat.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) flat.push_back(tensor.view({-1}));
  return at::cat(flat);
}

}  // namespace

std::unique_ptr<Pending> all_reduce_coalesced_(std::vector<at::Tensor> tensors, Reduction reduction, Mesh mesh,
                                               int axis) {
  const int64_t n = mesh->axis_size(axis);
  if (n == 1 || tensors.empty()) return std::make_unique<Done>();
  int64_t elements = 0;
  for (const at::Tensor& tensor : tensors) {
    TORCH_INTERNAL_ASSERT(tensor.is_contiguous() && tensor.scalar_type() == tensors[0].scalar_type(),
                          "tensors reduced together are contiguous and of one dtype");
    elements += tensor.numel();
  }
  const c10::ScalarType dtype = tensors[0].scalar_type();
  check_reduction(dtype, reduction);
  TORCH_CHECK_VALUE(has_lowering(dtype, reduction), "[W036] a pending ", to_string(reduction), " of dtype ", dtype,
                    " cannot be reduced in buckets");
  const int64_t bytes = elements * static_cast<int64_t>(tensors[0].element_size());
  const Event event{"all_reduce", mesh, axis, 2 * (n - 1) * bytes / n, elements, dtype, reduction};
  return collective(event, [&]() -> std::unique_ptr<Pending> {
    if (elements == 0) return std::make_unique<Done>();
    const Axis line(mesh, axis);
    at::Tensor flat = flatten(tensors);
    return std::make_unique<Flattened>(std::move(tensors), std::move(flat), reduction, line);
  });
}

}  // namespace weft::comm
