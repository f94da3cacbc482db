#include "checkpoint/box.h"

#include <algorithm>

namespace weft::checkpoint {

Box::Box(c10::IntArrayRef sizes) : sizes_(sizes.vec()) {
  for (int64_t size : sizes) {
    dims_.emplace_back();
    if (size > 0) dims_.back().push_back({0, size});
  }
  measure();
}

Box::Box(c10::IntArrayRef sizes, Layout layout, c10::IntArrayRef coordinates) : sizes_(sizes.vec()) {
  for (size_t d = 0; d < sizes.size(); ++d) {
    dims_.push_back(local_indices(layout, static_cast<int64_t>(d), sizes[d], coordinates));
  }
  measure();
}

void Box::measure() {
  std::vector<int64_t> lengths;
  for (const auto& ranges : dims_) {
    lengths.push_back(0);
    for (const IndexRange& range : ranges) lengths.back() += range.length;
    numel_ *= lengths.back();
  }
  if (numel_ == 0 || dims_.empty()) return;
  split_ = dims_.size() - 1;
  while (split_ > 0 && lengths[split_] == sizes_[split_]) inner_ *= sizes_[split_--];
  per_outer_ = lengths[split_] * inner_;
  int64_t stride = sizes_[split_] * inner_;
  offsets_.resize(split_);
  for (size_t d = split_; d-- > 0; stride *= sizes_[d]) {
    offsets_[d].reserve(lengths[d]);
    for (const IndexRange& range : dims_[d]) {
      for (int64_t i = 0; i < range.length; ++i) offsets_[d].push_back((range.start + i) * stride);
    }
  }
}

int64_t Box::before(int64_t full) const {
  int64_t per_index = 1, found = 0;  // elements of the part for each index of this dimension
  for (size_t d = sizes_.size(); d-- > 0; full /= sizes_[d]) {
    if (sizes_[d] == 0) return 0;
    const bool outermost = d == 0;
    const int64_t index = outermost ? full : full % sizes_[d];
    int64_t rising = 0, length = 0;
    bool held = false;
    for (const IndexRange& range : dims_[d]) {
      rising += std::clamp<int64_t>(index - range.start, 0, range.length);
      held = held || (index >= range.start && index < range.start + range.length);
      length += range.length;
    }
    // Where the part has not this index, all that it has of lower ones is before, and nothing of it.
    found = rising * per_index + (held ? found : 0);
    per_index *= length;
  }
  return sizes_.empty() ? std::clamp<int64_t>(full, 0, 1) : found;
}

int64_t Box::longest_run() const {
  if (numel_ == 0 || dims_.empty()) return numel_;
  int64_t longest = 0;
  for (const IndexRange& range : dims_[split_]) longest = std::max(longest, range.length * inner_);
  return longest;
}

void Box::runs(int64_t first, int64_t count, c10::function_ref<void(const Run&)> each) const {
  if (count == 0) return;
  if (dims_.empty()) return each({0, 0, 1});
  const int64_t end = first + count;
  // One index per outer dimension, counted up as an odometer.
  std::vector<size_t> index(offsets_.size());
  int64_t rest = first / per_outer_;
  for (size_t d = offsets_.size(); d-- > 0;) {
    index[d] = static_cast<size_t>(rest) % offsets_[d].size();
    rest /= static_cast<int64_t>(offsets_[d].size());
  }
  for (int64_t part = first / per_outer_ * per_outer_; part < end; part += per_outer_) {
    int64_t base = 0;
    for (size_t d = 0; d < index.size(); ++d) base += offsets_[d][index[d]];
    int64_t at = part;
    for (const IndexRange& range : dims_[split_]) {
      const int64_t from = std::max(at, first), to = std::min(at + range.length * inner_, end);
      if (from < to) each({base + range.start * inner_ + (from - at), from, to - from});
      at += range.length * inner_;
    }
    for (size_t d = index.size(); d-- > 0;) {
      if (++index[d] < offsets_[d].size()) break;
      index[d] = 0;
    }
  }
}

namespace {

void cut(const at::Tensor& view, int64_t first, int64_t most, c10::function_ref<void(const Block&)> each) {
  if (view.numel() <= most || view.dim() == 0) return each({view, first});
  const int64_t row = view.numel() / view.size(0);
  const int64_t rows = std::max<int64_t>(most / row, 1);
  for (int64_t i = 0; i < view.size(0); i += rows) {
    const at::Tensor part = view.narrow(0, i, std::min(rows, view.size(0) - i));
    if (row > most) {
      cut(part.select(0, 0), first + i * row, most, each);
    } else {
      each({part, first + i * row});
    }
  }
}

}  // namespace

void blocks(const at::Tensor& tensor, int64_t bytes, c10::function_ref<void(const Block&)> each) {
  if (tensor.numel() > 0) cut(tensor, 0, std::max<int64_t>(bytes / tensor.element_size(), 1), each);
}

Share share_of(int64_t numel, int64_t element_bytes, int64_t replica, int64_t replicas, int64_t turn) {
  constexpr int64_t kWorthIt = 64 << 10;  // bytes
  const int64_t pieces = std::clamp<int64_t>(numel * element_bytes / kWorthIt, 1, replicas);
  const int64_t piece = (replica + turn) % replicas;
  if (piece >= pieces) return {};
  const auto start = [&](int64_t p) { return chunk_start(numel, pieces, p); };
  return {start(piece), chunk_length(numel, pieces, piece)};
}

Replica replica_of(Layout layout, c10::IntArrayRef coordinates) {
  Replica replica;
  for (int axis = 0; axis < layout->mesh()->ndim(); ++axis) {
    if (layout->state(axis).kind == AxisState::split) continue;
    const int64_t size = layout->mesh()->axis_size(axis);
    replica.index = replica.index * size + coordinates[axis];
    replica.count *= size;
  }
  return replica;
}

}  // namespace weft::checkpoint
