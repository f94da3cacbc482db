#include "comm/wire/riders.h"

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

// Of one rank.
struct Waiting : ContextState {
  std::mutex mutex;
  std::vector<std::shared_ptr<Rider>> riders;
};

// Riders alone.
class OwnWay final : public Carrier {
 public:
  explicit OwnWay(const Ride& ride) : ride_(ride) {}
  void send(Riders riders) {
    std::lock_guard<std::mutex> lock(mutex_);
    const RunningOp running("small values", riders.identity(), nullptr);
    const auto& parts = riders.parts();
    const at::Tensor flat = parts.size() == 1 ? parts[0] : at::cat(parts);
    all_reduce_coalesced_({flat}, ride_.reduction, ride_.mesh, ride_.axis)->wait();
    riders.receive(flat);
  }
  void finish() override { std::lock_guard<std::mutex> lock(mutex_); }

 private:
  const Ride ride_;
  std::mutex mutex_;  // held until it has arrived
};

}  // namespace

bool Riders::wait_for_ride(std::shared_ptr<Rider> rider) {
  auto& waiting = context().state<Waiting>();
  std::lock_guard<std::mutex> lock(waiting.mutex);
  waiting.riders.push_back(std::move(rider));
  return waiting.riders.size() < kMostWaiting;
}

bool Riders::leave(const Rider& rider) {
  auto& waiting = context().state<Waiting>();
  std::lock_guard<std::mutex> lock(waiting.mutex);
  return std::erase_if(waiting.riders, [&](const auto& r) { return r.get() == &rider; }) > 0;
}

Riders Riders::board(const Ride& ride, const std::shared_ptr<Carrier>& carrier) {
  Riders boarded;
  auto& waiting = context().state<Waiting>();
  std::lock_guard<std::mutex> lock(waiting.mutex);
  std::erase_if(waiting.riders, [&](const std::shared_ptr<Rider>& rider) {
    at::Tensor part = rider->to_send(ride);
    if (!part.defined()) return false;
    rider->carrier_ = carrier;
    boarded.identity_ = mix(boarded.identity_, rider->identity);
    boarded.parts_.push_back(std::move(part));
    boarded.riders_.push_back(rider);
    return true;
  });
  return boarded;
}

void Riders::receive(const at::Tensor& flat) {
  const auto riders = std::exchange(riders_, {});
  std::exception_ptr error;
  int64_t offset = 0;
  for (size_t i = 0; i < riders.size(); ++i) {
    const int64_t elements = parts_[i].numel();
    try {
      riders[i]->receive(flat.narrow(0, offset, elements));
    } catch (...) {
      if (!error) error = std::current_exception();
    }
    offset += elements;
  }
  parts_.clear();
  if (error) std::rethrow_exception(error);
}

void Riders::finish(const Rider& rider, const Ride& ride) {
  if (const auto carrier = rider.carrier_.lock()) return carrier->finish();
  const auto own = std::make_shared<OwnWay>(ride);
  Riders boarded = board(ride, own);
  if (!boarded.parts().empty()) own->send(std::move(boarded));
}

}  // namespace weft::comm
