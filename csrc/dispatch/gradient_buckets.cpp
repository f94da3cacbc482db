#include "dispatch/gradient_buckets.h"

#include <ATen/ops/empty.h>
#include <comm/collectives.h>
#include <debug/trace.h>
#include <layout/shard.h>
#include <mesh/context.h>
#include <tensor/below_autograd.h>
#include <tensor/sharded.h>
#include <torch/csrc/autograd/engine.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

namespace weft {
namespace {

// DistributedDataParallel's sizes: the first bucket is small so that the sending starts early.
constexpr int64_t kFirstBucketBytes = int64_t{1} << 20;
constexpr int64_t kBucketBytes = int64_t{25} << 20;

class Bucket final : public Incoming {
 public:
  Bucket(Mesh mesh, TensorLayout::Partial partial, at::TensorOptions options)
      : mesh_(mesh), partial_(partial), options_(std::move(options)) {}

  bool takes(Mesh mesh, const TensorLayout::Partial& partial, const at::TensorOptions& options) const {
    return mesh == mesh_ && partial == partial_ && options.dtype() == options_.dtype() &&
           options.device() == options_.device();
  }
  void add(c10::intrusive_ptr<Cell> cell, Layout layout, at::Tensor part, Sizes strides, const std::string& path) {
    elements_ += part.numel();
    if (path_.empty()) path_ = path;
    parts_.push_back({std::move(cell), layout, std::move(part), std::move(strides)});
  }
  int64_t bytes() const { return elements_ * static_cast<int64_t>(options_.dtype().itemsize()); }

  /// Sends it off, once.
  void launch();
  void arrive() override;

 private:
  struct Part {
    c10::intrusive_ptr<Cell> cell;
    Layout layout;  // when it has arrived
    at::Tensor part;
    Sizes strides;
  };
  /// Reduces over the next axis that is pending; null: there is none left.
  std::unique_ptr<comm::Pending> reduce() {
    while (axis_ < mesh_->ndim() && partial_[axis_] == Reduction::none) ++axis_;
    if (axis_ == mesh_->ndim()) return nullptr;
    const int axis = axis_++;
    return comm::all_reduce_coalesced_({flat_}, partial_[axis], mesh_, axis);
  }

  Mesh mesh_;
  TensorLayout::Partial partial_;
  at::TensorOptions options_;
  int64_t elements_ = 0;
  std::vector<Part> parts_;
  std::string path_;
  std::mutex mutex_;
  at::Tensor flat_;
  int axis_ = 0;  // the first that is not reduced over yet
  std::unique_ptr<comm::Pending> pending_;
};

// Of one rank.
struct Buckets : ContextState {
  std::mutex mutex;
  std::vector<std::shared_ptr<Bucket>> open;    // in the order of their first gradients
  std::vector<std::shared_ptr<Bucket>> flying;  // sent off in this order
  int task = -1;                                // the backward pass that knows of us
  bool sent = false;                            // a bucket of that pass
};

void Bucket::launch() {
  {
    Buckets& buckets = context().state<Buckets>();
    std::lock_guard<std::mutex> lock(buckets.mutex);
    const auto it = std::find_if(buckets.open.begin(), buckets.open.end(), [&](auto& b) { return b.get() == this; });
    if (it == buckets.open.end()) return;
    buckets.flying.push_back(std::move(*it));
    buckets.open.erase(it);
    buckets.sent = true;
  }
  BelowAutograd guard;
  if (parts_.size() > 1) path_ += c10::str(" and ", parts_.size() - 1, " more");
  CurrentOp running("gradient", path_);
  flat_ = at::empty({elements_}, options_);
  int64_t offset = 0;
  for (Part& p : parts_) {
    // Its place in the buffer is its memory from now on.
    const at::Tensor place = flat_.as_strided(p.part.sizes(), p.strides, offset);
    offset += p.part.numel();
    place.copy_(p.part);
    p.part = place;
  }
  pending_ = reduce();
}

void Bucket::arrive() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (parts_.empty()) return;
  launch();
  BelowAutograd guard;
  CurrentOp running("gradient", path_);
  for (; pending_; pending_ = reduce()) pending_->wait();
  for (Part& p : parts_) replace_content(*p.cell, std::move(p.part), p.layout);
  parts_.clear();
  flat_.reset();
  Buckets& buckets = context().state<Buckets>();
  std::lock_guard<std::mutex> list(buckets.mutex);
  std::erase_if(buckets.flying, [&](auto& b) { return b.get() == this; });
}

void finish_backward() {
  Buckets& buckets = context().state<Buckets>();
  auto first = [&](const std::vector<std::shared_ptr<Bucket>>& list) {
    std::lock_guard<std::mutex> lock(buckets.mutex);
    return list.empty() ? nullptr : list.front();
  };
  while (const auto bucket = first(buckets.open)) bucket->launch();
  while (const auto bucket = first(buckets.flying)) bucket->arrive();
}

// The engine runs its callbacks when the pass is over.
void begin_backward(Buckets& buckets) {
  const int task = torch::autograd::get_current_graph_task_id();
  std::lock_guard<std::mutex> lock(buckets.mutex);
  if (buckets.task == task) return;
  torch::autograd::Engine::get_default_engine().queue_callback(&finish_backward);
  buckets.task = task;
  buckets.sent = false;
}

}  // namespace

bool can_reduce_in_bucket(const at::Tensor& grad, Layout to) {
  if (!holds_shards(grad) || grad.requires_grad()) return false;
  const Layout from = sharded(grad).layout();
  if (from->without_partial() != to || !from->has_partial()) return false;
  for (int a = 0; a < from->mesh()->ndim(); ++a) {
    const Reduction r = from->partial()[a];
    if (r != Reduction::none && r != Reduction::sum && r != Reduction::avg) return false;
  }
  return true;
}

at::Tensor reduce_in_bucket(const at::Tensor& grad, Layout to, const at::Tensor& leaf) {
  const ShardedTensorImpl& impl = sharded(grad);
  const TensorLayout::Partial& partial = impl.layout()->partial();
  const at::Tensor local = impl.local();
  Buckets& buckets = context().state<Buckets>();
  begin_backward(buckets);
  std::shared_ptr<Bucket> bucket;
  {
    std::lock_guard<std::mutex> lock(buckets.mutex);
    for (const auto& b : buckets.open) {
      if (b->takes(to->mesh(), partial, local.options())) bucket = b;
    }
    if (!bucket) {
      bucket = std::make_shared<Bucket>(to->mesh(), partial, local.options());
      buckets.open.push_back(bucket);
    }
  }
  // In the leaf's memory order, in which AccumulateGrad wants it.
  const Geometry root{Sizes(grad.sizes()), dense_strides(grad.sizes(), leaf.strides()), 0};
  const at::Tensor out = make_incoming(bucket, local, to, root);
  bucket->add(sharded(out).shared_cell(), to, local, dense_strides(local.sizes(), root.strides), sharded(leaf).path());
  if (bucket->bytes() >= (buckets.sent ? kBucketBytes : kFirstBucketBytes)) bucket->launch();
  return out;
}

}  // namespace weft
