#include "gradient/gradient_bucket.h"

#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

#include "base/interned.h"
#include "mesh/context.h"
#include "tensor/below_autograd.h"

namespace weft {
namespace {

// How many bytes of gradients are packed together, while the caches still hold them.
constexpr int64_t kCachedBytes = int64_t{512} << 10;

}  // namespace

GradientBucket::GradientBucket(Kind kind, int64_t expected)
    : kind_(std::move(kind)),
      placeholder_(at::empty({0}, at::TensorOptions(kind_.dtype).device(kind_.device))),
      packs_early_(expected > 0 && !kind_.reduces[0].scatter),
      flat_(placeholder_.options(), expected) {}

relayout::Place GradientBucket::place(const Part& part) const {
  return {kind_.mesh, part.sizes, context().bind(kind_.mesh).coordinates, part.position};
}

void GradientBucket::add(Part part, const std::string& path) {
  std::lock_guard<std::mutex> lock(mutex_);
  BelowAutograd guard;
  bytes_ += part.bytes;
  unpacked_bytes_ += part.shard.numel() * static_cast<int64_t>(part.shard.element_size());
  if (path_.empty()) path_ = path;
  identity_ = mix(identity_, part.cell->identity.load(std::memory_order_relaxed));
  slice(part);
  parts_.push_back(std::move(part));
  if (packs_early_ && unpacked_bytes_ >= kCachedBytes) pack({});
}

bool GradientBucket::add_on_arrival(const Cell& cell, const at::Tensor& sum, const std::shared_ptr<Incoming>& self) {
  const ShardedTensorImpl* impl = sharded_impl(sum);
  if (impl == nullptr || impl->chain() || impl->incoming()) return false;
  std::lock_guard<std::mutex> lock(mutex_);
  const auto part = std::find_if(parts_.rbegin(), parts_.rend(), [&](const Part& p) { return p.cell.get() == &cell; });
  if (part == parts_.rend() || part->adds || part->accumulated.get() != &impl->cell()) return false;
  if (impl->layout() != part->layout || sum.scalar_type() != kind_.dtype || !sum.sizes().equals(part->sizes)) {
    return false;
  }
  part->adds = true;
  await_content(*part->accumulated, self);
  return true;
}

// What needs no collective. Whether there was anything.
bool GradientBucket::slice(Part& part) {
  bool any = false;
  for (; part.next < part.steps.size(); ++part.next, any = true) {
    const relayout::Step& step = part.steps[part.next];
    if (step.from.kind != AxisState::replicated) break;
    part.shard = run(step, part.state, part.shard, place(part));
    part.state = after(step, part.state);
  }
  return any;
}

// Puts the shards that flat_ does not hold yet, and what is piggybacked, behind those that it holds.
void GradientBucket::pack(c10::ArrayRef<at::Tensor> piggybacked) {
  std::vector<at::Tensor> tensors;
  tensors.reserve(parts_.size() - packed_ + piggybacked.size());
  for (; packed_ < parts_.size(); ++packed_) {
    Part& p = parts_[packed_];
    p.shape.assign(p.shard.sizes().begin(), p.shard.sizes().end());
    tensors.push_back(std::exchange(p.shard, {}));
  }
  tensors.insert(tensors.end(), piggybacked.begin(), piggybacked.end());
  unpacked_bytes_ = 0;
  flat_.append(tensors);
}

// Who has one all-reduce to make takes others along.
void GradientBucket::take_along() {
  if (kind_.reduces.size() != 1 || kind_.reduces[0].scatter) return;
  const Reduce& reduce = kind_.reduces[0];
  piggybacked_ = comm::PiggybackedReductions::take_along(
      {kind_.mesh, reduce.axis, reduce.reduction, kind_.dtype, kind_.device}, shared_from_this());
}

void GradientBucket::begin() {
  for (Part& p : parts_) {
    if (slice(p)) packed_ = 0;
  }
  if (next_ == kind_.reduces.size()) return;
  const Reduce& reduce = kind_.reduces[next_++];
  if (reduce.scatter) {
    std::vector<comm::Divided> tensors;
    tensors.reserve(parts_.size());
    for (Part& p : parts_) {
      relayout::Cut s = scatter_of(p.steps[p.next], p.shard, place(p));
      tensors.push_back({std::move(s.tensor), s.dim, std::move(s.lengths)});
      p.shape = std::move(s.sizes);
    }
    scattering_ = comm::reduce_scatter_coalesced(tensors, reduce.reduction, kind_.mesh, reduce.axis);
  } else {
    if (packed_ == 0) flat_.clear();  // the shards may lie in it
    pack(piggybacked_.parts());
    if (next_ == 1) elements_ = flat_.numel();
    reducing_ = comm::all_reduce_coalesced_({flat_.content()}, reduce.reduction, kind_.mesh, reduce.axis);
  }
  for (Part& p : parts_) p.shard.reset();
}

void GradientBucket::wait() {
  if (reducing_) reducing_->wait();
  if (scattering_) flat_.assign(scattering_->wait());
  reducing_.reset();
  scattering_.reset();
  packed_ = parts_.size();
  const at::Tensor flat = flat_.content();
  int64_t offset = flat.storage_offset();
  for (Part& p : parts_) {
    // Its memory from now on; by core's kernel alone, without dispatch.
    p.shard = at::native::as_strided_tensorimpl(flat, p.shape, row_major_strides(p.shape), offset);
    offset += p.shard.numel();
    p.state = after(p.steps[p.next], p.state);
    ++p.next;
  }
}

void GradientBucket::deliver() {
  int64_t offset = 0;
  for (Part& p : parts_) {
    offset += p.shard.numel();
    at::Tensor shard = p.shard.contiguous();
    if (!p.position.empty()) shard = shard.permute(p.position);
    if (p.adds) {
      const at::Tensor sum = p.accumulated->local;
      sum.add_(shard);
      replace_content(*p.accumulated, sum, p.layout);
    }
    replace_content(*p.cell, std::move(shard), p.layout);
  }
  parts_.clear();
  arrived_ = true;
  const at::Tensor flat = flat_.content();
  flat_.clear();
  if (!piggybacked_.parts().empty()) piggybacked_.receive(flat.narrow(0, offset, flat.numel() - offset));
}

void GradientBucket::send() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (sent_) return;
  sent_ = true;
  if (parts_.size() > 1) path_ += c10::str(" and ", parts_.size() - 1, " more");
  variables_ = interned(path_);
  BelowAutograd guard;
  take_along();
  identity_ = mix(identity_, piggybacked_.identity());
  const RunningOp running("gradient", identity_, variables_);
  begin();
}

bool GradientBucket::advance() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (arrived_) return true;
  BelowAutograd guard;
  const RunningOp running("gradient", identity_, variables_);
  wait();
  begin();
  if (!reducing_ && !scattering_) deliver();
  return arrived_;
}

void GradientBucket::arrive() {
  send();
  while (!advance()) {
  }
}

}  // namespace weft
