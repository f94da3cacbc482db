#include "redistribute/gather_ahead.h"

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/engine.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/interned.h"
#include "mesh/context.h"
#include "redistribute/gather_kept.h"
#include "redistribute/gather_order.h"
#include "redistribute/gather_request.h"
#include "redistribute/redistribute.h"
#include "tensor/below_autograd.h"
#include "tensor/running.h"
#include "tensor/traced.h"

namespace weft {
namespace {

using Number = GatherOrder::Number;

constexpr size_t kMostRequests = 16384;  // then all is forgotten

uint8_t mode_of_thread() {
  const bool backward = torch::autograd::get_current_graph_task_id() != -1;
  return (backward ? Wanted::kBackward : 0) | (c10::GradMode::is_enabled() ? Wanted::kGradMode : 0) |
         (c10::InferenceMode::is_enabled() ? Wanted::kInference : 0);
}

// What is gathered in one collective, in the order in which it will be asked for.
struct Bucket {
  struct Entry {
    Number number;
    size_t piece;
  };
  struct Piece {
    Number number;  // the first one that asks for it
    GatherRequest::Moment moment;
  };
  std::vector<Entry> entries;
  std::vector<Piece> pieces;
  size_t next = 0;  // the first entry that may still be asked for
  int64_t bytes = 0;
  std::unique_ptr<comm::PendingGathers> gathers;
};

// What one rank gathers ahead.
class GatherAhead : public ContextState {
 public:
  at::Tensor take(const Wanted& wanted) {
    use_stream_of(wanted.operand.local().device());
    const Number number = number_of(wanted);
    if (number == GatherOrder::kNone) return on_demand(wanted);
    requests_[number].asked_again(wanted);
    const bool backward = (wanted.mode & Wanted::kBackward) != 0;
    if (order_.note(number, backward)) {
      drop();
      kept_.clear();
    }
    if (backward && !kept_.empty()) free_after_backward();
    const auto [bucket, entry] = find(number);
    if (bucket == buckets_.size()) {
      at::Tensor kept = kept_.take(requests_[number], number, wanted.operand);
      return kept.defined() ? kept : begin_with(number, wanted);
    }
    for (size_t b = 0; b < bucket; ++b) drop_first();
    return take_ahead(number, entry, wanted);
  }

  // Nothing is under way any more, and what came is freed.
  void drop() {
    if (buckets_.empty()) return;
    const c10::StreamGuard guard(stream_);
    while (!buckets_.empty()) drop_first();
  }

  // Goes on as if no pass had been.
  void forget() {
    drop();
    requests_.clear();
    numbers_.clear();
    order_ = {};
    kept_ = {};
  }

  std::mutex mutex;

 private:
  // What was gathered for another stream is used on that one alone: its memory is that one's to wait for and to free.
  void use_stream_of(c10::Device device) {
    const c10::Stream stream = c10::impl::VirtualGuardImpl(device.type()).getStream(device);
    if (stream == stream_) return;
    drop();
    kept_.clear();
    stream_ = stream;
  }

  Number number_of(const Wanted& wanted) {
    const uint64_t hash = GatherRequest::hash(wanted);
    const auto [begin, end] = numbers_.equal_range(hash);
    const auto found = std::find_if(begin, end, [&](const auto& n) { return requests_[n.second].is(wanted); });
    if (found != end) return found->second;
    auto request = GatherRequest::of(wanted);
    if (!request) return GatherOrder::kNone;
    if (requests_.size() >= kMostRequests) forget();
    requests_.push_back(std::move(*request));
    kept_.add(requests_);
    return numbers_.emplace(hash, static_cast<Number>(requests_.size() - 1))->second;
  }

  // Of the first bucket, on its way or here.
  at::Tensor take_ahead(Number number, size_t entry, const Wanted& wanted) {
    Bucket& first = buckets_.front();
    const bool is_first = first.next == 0;
    first.next = entry + 1;
    if (is_first) gather_next();
    const GatherRequest& request = requests_[number];
    const size_t piece = first.entries[entry].piece;
    const GatherRequest::Moment moment = first.pieces[piece].moment;
    const bool current = request.is_current(wanted.operand, moment);
    at::Tensor result;
    if (current) {
      const at::Tensor gathered = first.gathers->take(piece);
      if (is_to_keep(number)) kept_.keep(number, moment, gathered);
      result = request.result(gathered);
    } else {
      result = on_demand(wanted);
    }
    if (first.next == first.entries.size()) drop_first();
    return result;
  }

  bool is_to_keep(Number number) const {
    return gathered_kept.load(std::memory_order_relaxed) && kept_.is_for_backward(requests_[number], number);
  }

  // Whether backward will find it kept: it is here, or on its way for forward.
  bool will_be_kept(const Bucket& filling, Number number) const {
    if (!requests_[number].is_backward()) return false;
    if (kept_.has(number)) return true;
    const auto keeps = [&](const Bucket& bucket) {
      return std::any_of(bucket.entries.begin() + static_cast<int64_t>(bucket.next), bucket.entries.end(),
                         [&](const auto& e) { return kept_.are_same(e.number, number) && is_to_keep(e.number); });
    };
    return keeps(filling) || std::any_of(buckets_.begin(), buckets_.end(), keeps);
  }

  // Of what backward did not ask for nothing stays behind it.
  void free_after_backward() {
    const int task = torch::autograd::get_current_graph_task_id();
    if (std::exchange(task_, task) == task) return;
    torch::autograd::Engine::get_default_engine().queue_callback([this] {
      const std::lock_guard<std::mutex> lock(mutex);
      kept_.clear();
    });
  }

  static at::Tensor on_demand(const Wanted& w) {
    return redistribute_local(w.operand.local(), w.sizes, w.from, w.to, w.strides);
  }

  // The bucket and the place in it of what was gathered ahead for that request.
  std::pair<size_t, size_t> find(Number number) const {
    for (size_t b = 0; b < buckets_.size(); ++b) {
      const auto& entries = buckets_[b].entries;
      for (size_t e = buckets_[b].next; e < entries.size(); ++e) {
        if (entries[e].number == number) return {b, e};
      }
    }
    return {buckets_.size(), 0};
  }

  // Waits for it: its memory is used again.
  void drop_first() {
    const Bucket bucket = std::move(buckets_.front());
    buckets_.pop_front();
    if (bucket.gathers) bucket.gathers->wait();
  }

  // What nobody foretold, with what will likely follow at once.
  at::Tensor begin_with(Number number, const Wanted& wanted) {
    drop();
    Bucket bucket;
    add(bucket, number);
    before_ = order_.before();
    last_ = number;
    fill(bucket, kFirstGatherBytes);
    if (bucket.entries.size() == 1 && !is_to_keep(number)) {
      at::Tensor result = on_demand(wanted);
      gather_next();
      return result;
    }
    send(std::move(bucket));
    return take_ahead(number, 0, wanted);
  }

  void gather_next() {
    if (buckets_.size() > 1) return;
    Bucket bucket;
    fill(bucket, kGatherBytes);
    if (!bucket.entries.empty()) send(std::move(bucket));
  }

  // Which piece of the bucket the request is for; their number: none.
  size_t piece_of(const Bucket& bucket, Number number) const {
    const auto same = [&](const Bucket::Piece& p) { return requests_[p.number].same_gather(requests_[number]); };
    return std::find_if(bucket.pieces.begin(), bucket.pieces.end(), same) - bucket.pieces.begin();
  }

  void add(Bucket& bucket, Number number) {
    const size_t piece = piece_of(bucket, number);
    bucket.entries.push_back({number, piece});
    if (piece < bucket.pieces.size()) return;
    bucket.pieces.push_back({number, {}});
    bucket.bytes += requests_[number].bytes();
  }

  // Adds requests as far as it is known what follows, and one collective can gather it.
  void fill(Bucket& bucket, int64_t bytes) {
    const int64_t most = gathered_ahead.load(std::memory_order_relaxed) / 2;
    std::vector<Number> passed;
    while (true) {
      const Number number = order_.next(before_, last_);
      if (number == GatherOrder::kNone) return;
      if (will_be_kept(bucket, number)) {
        if (std::find(passed.begin(), passed.end(), number) != passed.end()) return;
        passed.push_back(number);
        before_ = std::exchange(last_, number);
        continue;
      }
      const GatherRequest& request = requests_[number];
      const bool is_new = piece_of(bucket, number) == bucket.pieces.size();
      if (is_new && bucket.bytes + request.bytes() > (bucket.entries.empty() ? most : std::min(bytes, most))) return;
      if (!bucket.entries.empty() && !request.goes_with(requests_[bucket.entries[0].number])) return;
      const auto is_it = [&](const Bucket::Entry& e) { return e.number == number; };
      if (std::any_of(bucket.entries.begin(), bucket.entries.end(), is_it)) return;
      if (find(number).first != buckets_.size()) return;
      add(bucket, number);
      before_ = std::exchange(last_, number);
    }
  }

  void send(Bucket bucket) {
    const GatherRequest& first = requests_[bucket.entries[0].number];
    const size_t others = bucket.pieces.size() - 1;
    std::string path = first.path() != nullptr ? *first.path() : "";
    if (others > 0) path += c10::str(" and ", others, " more");
    Identity identity = RunningOp::current() != nullptr ? RunningOp::current()->identity() : 0;
    for (const Bucket::Piece& p : bucket.pieces) identity = mix(identity, requests_[p.number].identity());
    const NoOp none;
    const RunningOp running("gather", identity, interned(path));
    BelowAutograd guard;
    std::vector<comm::Divided> tensors;
    tensors.reserve(bucket.pieces.size());
    for (Bucket::Piece& p : bucket.pieces) {
      const GatherRequest& request = requests_[p.number];
      tensors.push_back(request.to_gather(request.shard(p.moment)));
    }
    bucket.gathers = comm::all_gather_coalesced(tensors, first.mesh(), first.axis());
    buckets_.push_back(std::move(bucket));
  }

  std::vector<GatherRequest> requests_;                // by number
  std::unordered_multimap<uint64_t, Number> numbers_;  // by hash
  GatherOrder order_;
  KeptGathers kept_;
  int task_ = -1;                                                     // the backward pass that ends with kept_ empty
  std::deque<Bucket> buckets_;                                        // two at most: the one in use, and the next
  Number before_ = GatherOrder::kNone, last_ = GatherOrder::kNone;    // of what was gathered ahead
  c10::Stream stream_{c10::Stream::DEFAULT, c10::Device(c10::kCPU)};  // on which buckets_ and kept_ are used
};

// Beside that of the real mesh, whose requests must be the same on all ranks.
struct SimulatedGatherAhead : GatherAhead {};

GatherAhead& gather_ahead(Mesh mesh) {
  if (mesh->is_simulated()) return context().state<SimulatedGatherAhead>();
  return context().state<GatherAhead>();
}

}  // namespace

void forget_simulated_gathers() { context().state<SimulatedGatherAhead>().forget(); }

at::Tensor redistribute_operand(const ShardedTensorImpl& operand, c10::IntArrayRef sizes, c10::IntArrayRef strides,
                                Layout to) {
  const at::Tensor& local = operand.local();
  const Layout from = operand.layout();
  if (operand.interned_path() == nullptr || from->has_partial() || from->is_replicated() || is_traced(local)) {
    return redistribute_local(local, sizes, from, to, strides);
  }
  auto& ahead = gather_ahead(from->mesh());
  // Two threads that communicate at once raise where they do.
  const std::unique_lock<std::mutex> lock(ahead.mutex, std::try_to_lock);
  if (!lock) return redistribute_local(local, sizes, from, to, strides);
  if (gathered_ahead.load(std::memory_order_relaxed) == 0 && !gathered_kept.load(std::memory_order_relaxed)) {
    ahead.drop();
    return redistribute_local(local, sizes, from, to, strides);
  }
  return ahead.take({operand, sizes, strides, from, to, mode_of_thread()});
}

}  // namespace weft
