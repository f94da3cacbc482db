#include "gradient/gradient_buckets.h"

#include <torch/csrc/autograd/engine.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "comm/lockstep/settle.h"
#include "gradient/gradient_bucket.h"
#include "mesh/context.h"

namespace weft {
namespace {

using Bucket = GradientBucket;
using Reduce = GradientBucket::Reduce;

// The first bucket is small so that the sending starts early, as DistributedDataParallel's is. Nothing is left to
// compute while the last one travels: so a bucket is a part of what went before it, up to that one's 25 MiB.
constexpr int64_t kFirstBucketBytes = int64_t{1} << 20;
constexpr int64_t kLeastBucketBytes = int64_t{4} << 20;
constexpr int64_t kMostBucketBytes = int64_t{25} << 20;
constexpr int64_t kBucketOfAllBefore = 4;

// A program is known by the leaf that it begins with, by what is the same on all ranks: path, layout and sizes. Those
// of two models take turns in a step of some training loops.
using Beginning = std::tuple<const std::string*, Layout, Sizes>;

// The buckets of one rank.
struct Buckets : ContextState {
  std::mutex mutex;
  std::vector<std::shared_ptr<Bucket>> open;  // in the order of their first gradients
  std::vector<std::shared_ptr<Bucket>> sent;  // in that order
  int task = -1;                              // the backward pass that knows of us
  int64_t bytes_sent = 0;                     // in that pass
  // The length of each bucket, in the order in which a pass of a program opened them, which its next pass will likely
  // repeat.
  std::map<Beginning, std::vector<int64_t>> passed;
  std::vector<int64_t>* elements = nullptr;     // of the program whose pass that is
  std::vector<std::shared_ptr<Bucket>> opened;  // in that pass

  std::shared_ptr<Bucket> bucket_for(Bucket::Kind kind) {
    std::lock_guard<std::mutex> lock(mutex);
    take_sent();
    for (const auto& bucket : open) {
      if (bucket->kind() == kind) return bucket;
    }
    const size_t i = opened.size();
    const int64_t expected = i < elements->size() ? (*elements)[i] : 0;
    return open.emplace_back(opened.emplace_back(std::make_shared<Bucket>(std::move(kind), expected)));
  }
  // Some were sent off because one of their gradients was used.
  void take_sent() {
    const auto still_open = std::stable_partition(open.begin(), open.end(), [](auto& b) { return !b->is_sent(); });
    for (auto bucket = still_open; bucket != open.end(); ++bucket) bytes_sent += (*bucket)->bytes();
    std::move(still_open, open.end(), std::back_inserter(sent));
    open.erase(still_open, open.end());
  }
  int64_t full() const {
    if (bytes_sent == 0) return kFirstBucketBytes;
    return std::clamp(bytes_sent / kBucketOfAllBefore, kLeastBucketBytes, kMostBucketBytes);
  }
};

void finish_backward() {
  Buckets& buckets = context().state<Buckets>();
  std::vector<std::shared_ptr<Bucket>> flying;
  {
    std::lock_guard<std::mutex> lock(buckets.mutex);
    buckets.take_sent();
    flying = std::exchange(buckets.sent, {});
    for (auto& bucket : std::exchange(buckets.open, {})) flying.push_back(std::move(bucket));
  }
  for (const auto& bucket : flying) bucket->send();
  // They are ended in turn, so that while one waits the next collectives of the others run.
  while (!flying.empty()) {
    std::vector<std::shared_ptr<Bucket>> left;
    for (const auto& bucket : flying) {
      if (!bucket->advance()) left.push_back(bucket);
    }
    flying = std::move(left);
  }
  comm::begin_settling();
  std::lock_guard<std::mutex> lock(buckets.mutex);
  buckets.elements->clear();
  for (const auto& bucket : std::exchange(buckets.opened, {})) buckets.elements->push_back(bucket->elements());
}

// The engine runs its callbacks when the pass is over.
void begin_backward(Buckets& buckets, const ShardedTensorImpl& leaf) {
  const int task = torch::autograd::get_current_graph_task_id();
  std::lock_guard<std::mutex> lock(buckets.mutex);
  if (buckets.task == task) return;
  torch::autograd::Engine::get_default_engine().queue_callback(&finish_backward);
  buckets.task = task;
  buckets.bytes_sent = 0;
  buckets.opened.clear();
  buckets.elements = &buckets.passed[{leaf.interned_path(), leaf.layout(), Sizes(leaf.sizes())}];
}

bool sums(const TensorLayout& layout) {
  if (!layout.has_partial()) return false;
  return std::all_of(layout.partial().begin(), layout.partial().end(),
                     [](Reduction r) { return r == Reduction::none || r == Reduction::sum || r == Reduction::avg; });
}

std::vector<Reduce> reduces_of(const relayout::Steps& steps) {
  std::vector<Reduce> reduces;
  for (const relayout::Step& step : steps) {
    if (step.from.kind != AxisState::partial) continue;
    reduces.push_back({step.axis, step.from.reduction, step.to.kind == AxisState::split});
  }
  return reduces;
}

}  // namespace

void forget_simulated_backward() {
  Buckets& buckets = context().state<Buckets>();
  std::lock_guard<std::mutex> lock(buckets.mutex);
  std::erase_if(buckets.passed,
                [](const auto& passed) { return std::get<Layout>(passed.first)->mesh()->is_simulated(); });
}

at::Tensor reduce_in_bucket(const at::Tensor& grad, Layout to, const at::Tensor& leaf, bool held) {
  if (!holds_shards(grad) || grad.requires_grad() || grad.numel() == 0) return {};
  const ShardedTensorImpl& impl = sharded(grad);
  const Layout from = impl.layout();
  if (from->mesh() != to->mesh() || !sums(*from)) return {};
  const at::Tensor local = held ? impl.local().clone() : impl.local();
  const relayout::State start = relayout::state_of(from, grad.sizes()), goal = relayout::state_of(to, grad.sizes());
  const relayout::Subject subject{to->mesh(), grad.sizes(), static_cast<int64_t>(local.element_size())};
  auto steps = relayout::only_reductions(start, goal, subject);
  if (!steps) return {};

  Buckets& buckets = context().state<Buckets>();
  begin_backward(buckets, sharded(leaf));
  const auto bucket = buckets.bucket_for({to->mesh(), reduces_of(*steps), local.scalar_type(), local.device()});
  // It has the leaf's memory order, in which AccumulateGrad wants it.
  const Geometry root{Sizes(grad.sizes()), dense_strides(grad.sizes(), leaf.strides()), 0};
  const at::Tensor out = make_incoming(bucket, bucket->placeholder(), to, root);

  Bucket::Part part;
  part.cell = sharded(out).shared_cell();
  if (holds_shards(leaf.grad())) part.accumulated = sharded(leaf.grad()).shared_cell();
  part.layout = to;
  part.sizes = root.sizes;
  part.bytes = relayout::shard_bytes(start, subject);
  part.shard = local;
  if (!std::is_sorted(root.strides.rbegin(), root.strides.rend())) {
    const Sizes order = memory_order(root.strides);
    part.position.resize(order.size());
    for (size_t i = 0; i < order.size(); ++i) part.position[order[i]] = static_cast<int64_t>(i);
    part.shard = local.permute(order);
  }
  part.state = start;
  part.steps = std::move(*steps);
  bucket->add(std::move(part), sharded(leaf).path());
  if (bucket->bytes() >= buckets.full()) bucket->send();
  return out;
}

bool add_on_arrival(const at::Tensor& sum, const at::Tensor& gradient) {
  const ShardedTensorImpl& impl = sharded(gradient);
  if (impl.chain()) return false;  // a view of it
  const auto incoming = impl.incoming();
  auto* bucket = dynamic_cast<Bucket*>(incoming.get());
  return bucket != nullptr && bucket->add_on_arrival(impl.cell(), sum, incoming);
}

}  // namespace weft
