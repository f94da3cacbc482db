#include "tensor/overlap.h"

#include <algorithm>

#include "tensor/sharded.h"

namespace weft {
namespace {

// Bytes of its storage that a part lies in: from the first to past the last.
std::pair<int64_t, int64_t> range_of(const at::Tensor& part) {
  int64_t last = part.storage_offset();
  for (int64_t d = 0; d < part.dim(); ++d) last += (part.size(d) - 1) * part.stride(d);
  return {part.storage_offset() * part.element_size(), (last + 1) * part.element_size()};
}

bool overlap(const at::Tensor& a, const at::Tensor& b) {
  if (sharded(a).is_moved() || sharded(b).is_moved()) return true;
  const auto [first, end] = range_of(sharded(a).local());
  const auto [other_first, other_end] = range_of(sharded(b).local());
  return first < other_end && other_first < end;
}

}  // namespace

std::optional<std::pair<size_t, size_t>> written_overlap(const std::vector<at::Tensor>& tensors,
                                                         c10::IntArrayRef written) {
  // By what they share, then by index.
  std::vector<std::pair<const void*, size_t>> sharing;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const ShardedTensorImpl& impl = sharded(tensors[i]);
    if (const at::Tensor& part = impl.local(); part.numel() > 0) {
      sharing.emplace_back(part.storage().unsafeGetStorageImpl(), i);
    }
    if (impl.known_cell() != nullptr && impl.numel() > 0) sharing.emplace_back(impl.known_cell(), i);
  }
  std::sort(sharing.begin(), sharing.end());
  const auto is_written = [&](size_t i) {
    return std::find(written.begin(), written.end(), static_cast<int64_t>(i)) != written.end();
  };
  for (size_t first = 0; first < sharing.size(); ++first) {
    for (size_t k = first + 1; k < sharing.size() && sharing[k].first == sharing[first].first; ++k) {
      const size_t a = sharing[first].second, b = sharing[k].second;
      if ((is_written(a) || is_written(b)) && overlap(tensors[a], tensors[b])) return std::pair{a, b};
    }
  }
  return std::nullopt;
}

// As at::get_overlap_status, of tensors that share a cell where core's share a storage.
bool overlap_partially(const at::Tensor& a, const at::Tensor& b) {
  if (!holds_shards(a) || !holds_shards(b) || a.is_same(b)) return false;
  const ShardedTensorImpl &one = sharded(a), &other = sharded(b);
  if (one.known_cell() == nullptr || one.known_cell() != other.known_cell()) return false;
  if (a.numel() == 0 || b.numel() == 0) return false;
  if (!one.is_non_overlapping_and_dense() || !other.is_non_overlapping_and_dense()) return false;
  const auto bytes_of = [](const at::Tensor& t) {
    const int64_t first = t.storage_offset() * t.element_size();
    return std::pair{first, first + t.numel() * t.element_size()};
  };
  const auto [first, end] = bytes_of(a);
  const auto [other_first, other_end] = bytes_of(b);
  if (first == other_first && end == other_end) return !a.strides().equals(b.strides());
  return first < other_end && other_first < end;
}

}  // namespace weft
