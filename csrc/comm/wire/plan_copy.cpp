#include "comm/wire/plan_copy.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace weft::comm {
namespace {

struct Dim {
  int64_t size, to, from;  // strides in bytes
};

// The dimensions of more than one element, from the innermost of `to` on, those merged that both walk as one.
std::vector<Dim> merged_dims(const at::Tensor& to, const at::Tensor& from) {
  const auto bytes = static_cast<int64_t>(to.element_size());
  std::vector<Dim> dims;
  for (int64_t d = to.dim(); d-- > 0;) {
    if (to.size(d) != 1) dims.push_back({to.size(d), to.stride(d) * bytes, from.stride(d) * bytes});
  }
  std::stable_sort(dims.begin(), dims.end(), [](const Dim& a, const Dim& b) { return a.to < b.to; });
  std::vector<Dim> merged = {{bytes, 1, 1}};  // the bytes of an element
  for (const Dim& d : dims) {
    Dim& inner = merged.back();
    if (d.to == inner.to * inner.size && d.from == inner.from * inner.size) {
      inner.size *= d.size;
    } else {
      merged.push_back(d);
    }
  }
  return merged;
}

// The widest word that all rows begin and end with, in both memories.
int64_t width_of(const std::vector<Dim>& dims, const at::Tensor& to, const at::Tensor& from) {
  const auto start = [](const at::Tensor& t) { return reinterpret_cast<uintptr_t>(t.const_data_ptr()); };
  uint64_t all = start(to) | start(from) | static_cast<uint64_t>(dims[0].size) | 16;
  for (size_t d = 1; d < dims.size(); ++d) all |= static_cast<uint64_t>(dims[d].to | dims[d].from);
  return static_cast<int64_t>(all & -all);
}

}  // namespace

std::optional<StridedCopy> plan_copy(const at::Tensor& to, const at::Tensor& from) {
  if (to.numel() == 0 || to.numel() != from.numel()) return std::nullopt;
  std::vector<Dim> dims = merged_dims(to, from);
  const int64_t width = width_of(dims, to, from), words = static_cast<int64_t>(to.nbytes()) / width;
  // A row of one element: neighbours where they go to come from all over the memory.
  if (dims.size() > 1 && dims[0].size == static_cast<int64_t>(to.element_size())) return std::nullopt;
  if (dims.size() > StridedCopy::kMaxDims || words > std::numeric_limits<int32_t>::max()) return std::nullopt;
  StridedCopy copy;
  copy.width = static_cast<int>(width);
  copy.words = static_cast<uint32_t>(words);
  dims[0] = {dims[0].size / width, width, width};
  for (const Dim& d : dims) {
    copy.size[copy.dims] = Divisor(static_cast<uint32_t>(d.size));
    copy.to[copy.dims] = d.to / width;
    copy.from[copy.dims++] = d.from / width;
  }
  return copy;
}

}  // namespace weft::comm
