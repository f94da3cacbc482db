#include "redistribute/gather_ahead.h"

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/engine.h>
#include <weft/switches.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/interned.h"
#include "comm/agree/settings.h"
#include "mesh/context.h"
#include "redistribute/gather_order.h"
#include "redistribute/gather_request.h"
#include "redistribute/redistribute.h"
#include "tensor/below_autograd.h"
#include "tensor/running.h"
#include "tensor/traced.h"

namespace weft {
namespace {

using Number = GatherOrder::Number;

constexpr int64_t kFirstBytes = int64_t{1} << 20;   // of a pass's first bucket, which nothing hides
constexpr int64_t kBucketBytes = int64_t{4} << 20;  // of others, where the tensors are small
constexpr size_t kMostRequests = 16384;             // then all is forgotten
constexpr uint8_t kBackward = 1, kGradMode = 2, kInference = 4;

uint8_t mode_of_thread() {
  const bool backward = torch::autograd::get_current_graph_task_id() != -1;
  return (backward ? kBackward : 0) | (c10::GradMode::is_enabled() ? kGradMode : 0) |
         (c10::InferenceMode::is_enabled() ? kInference : 0);
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
    const Number number = number_of(wanted);
    if (number == GatherOrder::kNone) return on_demand(wanted);
    requests_[number].asked_again(wanted);
    if (order_.note(number, (wanted.mode & kBackward) != 0)) drop();
    const auto [bucket, entry] = find(number);
    if (bucket == buckets_.size()) return begin_with(number, wanted);
    for (size_t b = 0; b < bucket; ++b) drop_first();
    Bucket& first = buckets_.front();
    const bool is_first = first.next == 0;
    first.next = entry + 1;
    if (is_first) gather_next();
    const GatherRequest& request = requests_[number];
    const size_t piece = first.entries[entry].piece;
    const bool current = request.is_current(wanted.operand, first.pieces[piece].moment);
    const at::Tensor result = current ? request.result(first.gathers->take(piece)) : on_demand(wanted);
    if (first.next == first.entries.size()) drop_first();
    return result;
  }

  // Nothing is under way any more, and what came is freed.
  void drop() {
    while (!buckets_.empty()) drop_first();
  }

  // Goes on as if no pass had been.
  void forget() {
    drop();
    requests_.clear();
    numbers_.clear();
    order_ = {};
  }

  std::mutex mutex;

 private:
  Number number_of(const Wanted& wanted) {
    const uint64_t hash = GatherRequest::hash(wanted);
    const auto [begin, end] = numbers_.equal_range(hash);
    const auto found = std::find_if(begin, end, [&](const auto& n) { return requests_[n.second].is(wanted); });
    if (found != end) return found->second;
    auto request = GatherRequest::of(wanted);
    if (!request) return GatherOrder::kNone;
    if (requests_.size() >= kMostRequests) forget();
    requests_.push_back(std::move(*request));
    return numbers_.emplace(hash, static_cast<Number>(requests_.size() - 1))->second;
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
    fill(bucket, kFirstBytes);
    if (bucket.entries.size() == 1) {
      at::Tensor result = on_demand(wanted);
      gather_next();
      return result;
    }
    bucket.next = 1;
    send(std::move(bucket));
    gather_next();
    Bucket& first = buckets_.front();
    return requests_[number].result(first.gathers->take(0));
  }

  void gather_next() {
    if (buckets_.size() > 1) return;
    Bucket bucket;
    fill(bucket, kBucketBytes);
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
    while (true) {
      const Number number = order_.next(before_, last_);
      if (number == GatherOrder::kNone) return;
      const GatherRequest& request = requests_[number];
      const bool is_new = piece_of(bucket, number) == bucket.pieces.size();
      if (is_new && bucket.bytes + request.bytes() > (bucket.entries.empty() ? most : std::min(bytes, most))) return;
      if (!bucket.entries.empty()) {
        const GatherRequest& first = requests_[bucket.entries[0].number];
        if (request.mesh() != first.mesh() || request.axis() != first.axis() || request.device() != first.device()) {
          return;
        }
      }
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
  std::deque<Bucket> buckets_;                                      // two at most: the one in use, and the next
  Number before_ = GatherOrder::kNone, last_ = GatherOrder::kNone;  // of what was gathered ahead
};

// Beside that of the real mesh, whose requests must be the same on all ranks.
struct SimulatedGatherAhead : GatherAhead {};

GatherAhead& gather_ahead(Mesh mesh) {
  if (mesh->is_simulated()) return context().state<SimulatedGatherAhead>();
  return context().state<GatherAhead>();
}

}  // namespace

void forget_simulated_gathers() { context().state<SimulatedGatherAhead>().forget(); }

int64_t overlap(int64_t bytes) {
  TORCH_CHECK_VALUE(bytes >= 0, "[W039] overlap: a budget of ", bytes,
                    " bytes; give 0 (nothing is gathered ahead) or more");
  static const int64_t by_default = gathered_ahead.load(std::memory_order_relaxed);
  const int64_t before = gathered_ahead.exchange(bytes, std::memory_order_relaxed);
  comm::register_uniform_setting("overlap", bytes == by_default ? "" : std::to_string(bytes));
  return before;
}

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
  if (gathered_ahead.load(std::memory_order_relaxed) == 0) {
    ahead.drop();
    return redistribute_local(local, sizes, from, to, strides);
  }
  return ahead.take({operand, sizes, strides, from, to, mode_of_thread()});
}

}  // namespace weft
