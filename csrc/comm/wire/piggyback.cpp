#include "comm/wire/piggyback.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <utility>

#include "comm/wire/collectives.h"
#include "mesh/context.h"

namespace weft::comm {
namespace {

constexpr size_t kMostWaiting = 64;  // of a program that reads none of them

// What waits on one rank.
struct Waiting : ContextState {
  std::mutex mutex;
  std::vector<std::shared_ptr<PiggybackedReduction>> reductions;
};

// Those that no carrier has taken.
class SeparateReduction final : public CarryingReduction {
 public:
  explicit SeparateReduction(const ReductionKind& kind) : kind_(kind) {}
  void send(PiggybackedReductions reductions) {
    std::lock_guard<std::mutex> lock(mutex_);
    const RunningOp running("small values", reductions.identity(), nullptr);
    const auto& parts = reductions.parts();
    const at::Tensor flat = parts.size() == 1 ? parts[0] : at::cat(parts);
    all_reduce_coalesced_({flat}, kind_.reduction, kind_.mesh, kind_.axis)->wait();
    reductions.receive(flat);
  }
  void finish() override { std::lock_guard<std::mutex> lock(mutex_); }

 private:
  const ReductionKind kind_;
  std::mutex mutex_;  // held until it has arrived
};

}  // namespace

bool PiggybackedReductions::wait_for_carrier(std::shared_ptr<PiggybackedReduction> reduction) {
  auto& waiting = context().state<Waiting>();
  std::lock_guard<std::mutex> lock(waiting.mutex);
  waiting.reductions.push_back(std::move(reduction));
  return waiting.reductions.size() < kMostWaiting;
}

bool PiggybackedReductions::leave(const PiggybackedReduction& reduction) {
  auto& waiting = context().state<Waiting>();
  std::lock_guard<std::mutex> lock(waiting.mutex);
  return std::erase_if(waiting.reductions, [&](const auto& r) { return r.get() == &reduction; }) > 0;
}

PiggybackedReductions PiggybackedReductions::take_along(const ReductionKind& kind,
                                                        const std::shared_ptr<CarryingReduction>& carrier) {
  PiggybackedReductions taken;
  auto& waiting = context().state<Waiting>();
  std::lock_guard<std::mutex> lock(waiting.mutex);
  std::erase_if(waiting.reductions, [&](const std::shared_ptr<PiggybackedReduction>& reduction) {
    at::Tensor part = reduction->to_send(kind);
    if (!part.defined()) return false;
    reduction->carrier_ = carrier;
    taken.identity_ = mix(taken.identity_, reduction->identity);
    taken.parts_.push_back(std::move(part));
    taken.reductions_.push_back(reduction);
    return true;
  });
  return taken;
}

void PiggybackedReductions::receive(const at::Tensor& flat) {
  const auto reductions = std::exchange(reductions_, {});
  std::exception_ptr error;
  int64_t offset = 0;
  for (size_t i = 0; i < reductions.size(); ++i) {
    const int64_t elements = parts_[i].numel();
    try {
      reductions[i]->receive(flat.narrow(0, offset, elements));
    } catch (...) {
      if (!error) error = std::current_exception();
    }
    offset += elements;
  }
  parts_.clear();
  if (error) std::rethrow_exception(error);
}

void PiggybackedReductions::finish(const PiggybackedReduction& reduction, const ReductionKind& kind) {
  if (const auto carrier = reduction.carrier_.lock()) return carrier->finish();
  const auto own = std::make_shared<SeparateReduction>(kind);
  PiggybackedReductions taken = take_along(kind, own);
  if (!taken.parts().empty()) own->send(std::move(taken));
}

}  // namespace weft::comm
