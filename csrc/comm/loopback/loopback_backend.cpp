// One rank's end of a group of threads, as a backend of c10d.
#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <algorithm>
#include <thread>

#include "comm/lockstep/message_tag.h"
#include "comm/loopback/loopback_state.h"

namespace weft::comm {
namespace {

using State = LoopbackWorld::State;

class Waiting : public c10d::Work {
 public:
  Waiting(std::shared_ptr<State> state, std::shared_ptr<OpenCollective> collective)
      : state_(std::move(state)), collective_(std::move(collective)) {}

  bool isCompleted() override {
    std::lock_guard<std::mutex> lock(state_->mutex);
    return collective_->done || !state_->error.empty();
  }
  bool isSuccess() const override {
    std::lock_guard<std::mutex> lock(state_->mutex);
    return collective_->done;
  }
  bool wait(std::chrono::milliseconds asked) override {
    std::unique_lock<std::mutex> lock(state_->mutex);
    const auto timeout = state_->options.timeout;
    auto until = issued_ + timeout;
    if (asked.count() > 0) until = std::min(until, std::chrono::steady_clock::now() + asked);
    state_->changed.wait_until(lock, until, [&] { return collective_->done || !state_->error.empty(); });
    if (collective_->done) return true;
    if (!state_->error.empty()) state_->raise();
    TORCH_CHECK_WITH(DistBackendError, until == issued_ + timeout, "loopback: not done after ", asked.count(), " ms");
    std::string missing;
    for (int rank : collective_->who(false)) {
      missing += c10::str(missing.empty() ? "" : ", ", rank, " (its last: ", state_->last[rank], ")");
    }
    state_->fail(c10::str(collective_->str(), ": after ", timeout.count(), " ms these ranks have come: ",
                          c10::Join(", ", collective_->who(true)), "; these have not: ", missing));
  }

 private:
  std::shared_ptr<State> state_;
  std::shared_ptr<OpenCollective> collective_;
  const std::chrono::steady_clock::time_point issued_ = std::chrono::steady_clock::now();
};

class Loopback : public c10d::Backend, public Tagged {
 public:
  Loopback(std::shared_ptr<State> state, std::shared_ptr<Hub> hub, int rank, int number)
      : Backend(number, static_cast<int>(hub->ranks.size())),
        state_(std::move(state)),
        hub_(std::move(hub)),
        world_rank_(rank) {}

  const std::string getBackendName() const override { return state_->options.backend; }
  bool has_tags() const override { return state_->options.backend == "gloo"; }
  void abort() override {
    std::lock_guard<std::mutex> lock(state_->mutex);
    if (state_->error.empty()) state_->error = "aborted";
    state_->changed.notify_all();
  }
  c10::intrusive_ptr<c10d::Work> barrier(const c10d::BarrierOptions&) override {
    const at::Tensor nothing = at::zeros({1}, at::kByte);
    return issue({LoopbackCall::all_reduce, nothing, nothing});
  }

  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>& tensors,
                                           const c10d::AllreduceOptions& options) override {
    return issue({LoopbackCall::all_reduce, tensors.at(0), tensors.at(0), options.reduceOp});
  }
  c10::intrusive_ptr<c10d::Work> _allgather_base(at::Tensor& output, at::Tensor& input,
                                                 const c10d::AllgatherOptions&) override {
    return issue({LoopbackCall::all_gather, input, output});
  }
  c10::intrusive_ptr<c10d::Work> _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                                      const c10d::ReduceScatterOptions& options) override {
    return issue({LoopbackCall::reduce_scatter, input, output, options.reduceOp});
  }
  c10::intrusive_ptr<c10d::Work> alltoall_base(at::Tensor& output, at::Tensor& input,
                                               std::vector<int64_t>& output_splits, std::vector<int64_t>& input_splits,
                                               const c10d::AllToAllOptions&) override {
    return issue({LoopbackCall::all_to_all, input, output, c10d::ReduceOp::SUM, 0, input_splits, output_splits});
  }
  c10::intrusive_ptr<c10d::Work> broadcast(std::vector<at::Tensor>& tensors,
                                           const c10d::BroadcastOptions& options) override {
    return issue({LoopbackCall::broadcast, tensors.at(0), tensors.at(0), c10d::ReduceOp::SUM, options.rootRank});
  }

 private:
  c10::intrusive_ptr<c10d::Work> issue(LoopbackCall call) {
    check_call(call, size_);
    std::unique_lock<std::mutex> lock(state_->mutex);
    if (!state_->error.empty()) state_->raise();
    const int64_t number = next_++;
    const auto fault = state_->next_fault(world_rank_);
    if (fault && fault->kind == LoopbackFault::raise) {
      TORCH_CHECK_WITH(DistBackendError, false, "loopback: ", call.str(), " fails on rank ", world_rank_,
                       ", as it was told to");
    }
    if (fault && fault->kind == LoopbackFault::delay) {
      lock.unlock();
      std::this_thread::sleep_for(fault->time);
      lock.lock();
    }
    const std::pair<int, int64_t> key = is_set ? std::pair<int, int64_t>(call.kind, tag) : std::pair(-1, number);
    auto& collective = hub_->open[key];
    if (!collective) {
      collective = std::make_shared<OpenCollective>(OpenCollective{hub_->ranks, number, {}});
      collective->calls.resize(hub_->ranks.size());
    }
    auto work = c10::make_intrusive<Waiting>(state_, collective);
    if (fault && fault->kind == LoopbackFault::drop) return work;
    arrive(lock, collective, key, std::move(call));
    return work;
  }

  // The last one to come carries the collective out for all.
  void arrive(std::unique_lock<std::mutex>& lock, std::shared_ptr<OpenCollective> collective,
              std::pair<int, int64_t> key, LoopbackCall call) {
    for (size_t i = 0; i < collective->calls.size(); ++i) {
      const auto& other = collective->calls[i];
      if (!other || agree(*other, call)) continue;
      state_->fail(c10::str("ranks disagree about collective ", collective->number, " of the group of ranks ",
                            c10::Join(", ", collective->ranks), ": rank ", collective->ranks[i], " issues ",
                            other->str(), ", rank ", world_rank_, " issues ", call.str()));
    }
    state_->last[world_rank_] = call.str();
    collective->calls[rank_] = std::move(call);
    if (++collective->arrived < collective->calls.size()) return state_->check_ended(*collective);
    hub_->open.erase(key);
    std::vector<LoopbackCall> calls;
    for (auto& other : collective->calls) calls.push_back(*other);
    const std::string why = disagreement(calls);
    if (!why.empty()) state_->fail(c10::str(why, " (", collective->str(), ")"));
    lock.unlock();
    carry_out(calls);
    lock.lock();
    collective->done = true;
    state_->changed.notify_all();
  }

  std::shared_ptr<State> state_;
  std::shared_ptr<Hub> hub_;
  const int world_rank_;
  int64_t next_ = 0;
};

}  // namespace

c10::intrusive_ptr<c10d::Backend> loopback_backend(std::shared_ptr<State> state, std::shared_ptr<Hub> hub, int rank,
                                                   int position) {
  return c10::make_intrusive<Loopback>(std::move(state), std::move(hub), rank, position);
}

}  // namespace weft::comm
