#include "comm/wire/pack.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "comm/wire/plan_copy.h"

namespace weft::comm {
namespace {

bool is_identity(c10::IntArrayRef order) {
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

// Whether all data of `sizes` before `dim` is of length one, so that pieces along dim lie one after the other.
bool is_leading(c10::IntArrayRef sizes, int64_t dim) { return product(sizes.slice(0, dim)) == 1; }

// The pieces of `tensor` along `dim`, lengths[i] each, lie row-major in `flat` at element offsets[i]. Calls
// run(in the tensor, in flat) with those side by side, as many as have one length and lie evenly apart.
template <class Run>
void for_runs(const at::Tensor& tensor, const at::Tensor& flat, int64_t dim, const std::vector<int64_t>& lengths,
              const std::vector<int64_t>& offsets, const Run& run) {
  int64_t start = 0;
  for (size_t i = 0, end = 0; i < lengths.size(); i = end) {
    const auto step = [&](size_t k) { return offsets[k] - offsets[k - 1]; };
    for (end = i + 1; end < lengths.size() && lengths[end] == lengths[i] && step(end) == step(i + 1) && step(end) > 0;)
      ++end;
    const auto count = static_cast<int64_t>(end - i);
    const int64_t length = lengths[i], all = count * length;
    if (length == 0) continue;
    const at::Tensor pieces = tensor.narrow(dim, start, all).unflatten(dim, {count, length}).movedim(dim, 0);
    Sizes strides(pieces.dim(), 1);
    for (int64_t d = pieces.dim() - 1; d-- > 1;) strides[d] = strides[d + 1] * pieces.size(d + 1);
    strides[0] = count > 1 ? step(i + 1) : 0;
    run(pieces, flat.as_strided(pieces.sizes(), strides, flat.storage_offset() + offsets[i]));
    start += all;
  }
}

}  // namespace

int64_t product(c10::IntArrayRef sizes) {
  int64_t n = 1;
  for (int64_t size : sizes) n *= size;
  return n;
}

int64_t row_elements(c10::IntArrayRef sizes, int64_t dim) {
  return product(sizes.slice(0, dim)) * product(sizes.slice(dim + 1));
}

Wire::Wire(const at::Tensor& input, c10::IntArrayRef order) : tensor_(input) {
  if (order.empty()) {
    if (!input.is_contiguous()) {
      strides_from_ = memory_order(input.strides());
      if (is_identity(strides_from_)) strides_from_.clear();
    }
    return;
  }
  TORCH_INTERNAL_ASSERT(static_cast<int64_t>(order.size()) == input.dim(), "an order of ", order.size(),
                        " dimensions for a tensor of ", input.dim());
  if (is_identity(order)) return;
  order_.assign(order.begin(), order.end());
  position_.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) position_[order[i]] = static_cast<int64_t>(i);
  tensor_ = input.permute(order);
}

at::Tensor Wire::empty_result(c10::IntArrayRef sizes, c10::ScalarType dtype) const {
  const auto options = tensor_.options().dtype(dtype);
  if (strides_from_.empty()) return at::empty(sizes, options);
  Sizes strides(sizes.size());
  int64_t stride = 1;
  for (size_t i = strides_from_.size(); i-- > 0;) {
    strides[strides_from_[i]] = stride;
    stride *= std::max<int64_t>(sizes[strides_from_[i]], 1);
  }
  return at::empty_strided(sizes, strides, options);
}

at::Tensor Wire::unpermuted(const at::Tensor& tensor) const {
  return order_.empty() ? tensor : tensor.permute(position_);
}

at::Tensor Wire::result(at::Tensor tensor) const {
  if (!strides_from_.empty()) {
    at::Tensor out = empty_result(tensor.sizes(), tensor.scalar_type());
    copy_strided(out, tensor);
    return out;
  }
  return unpermuted(tensor);
}

at::Tensor plain_contiguous(const at::Tensor& tensor) {
  if (!tensor.is_cuda() || tensor.is_contiguous()) return tensor.contiguous().resolve_conj().resolve_neg();
  const at::Tensor out = at::empty(tensor.sizes(), tensor.options());
  copy_strided(out, tensor);
  return out;
}

at::Tensor pack(const at::Tensor& input, int64_t dim, const std::vector<int64_t>& lengths,
                const std::vector<int64_t>& sequence, int64_t padded) {
  const int64_t n = static_cast<int64_t>(lengths.size());
  const bool even = std::all_of(lengths.begin(), lengths.end(), [&](int64_t l) { return l == lengths[0]; });
  const bool in_place = sequence.empty() && (n == 1 || is_leading(input.sizes(), dim));
  const int64_t row = row_elements(input.sizes(), dim);
  if (in_place && (padded == 0 || (even && padded == lengths[0] * row))) return plain_contiguous(input).view({-1});
  if (even && sequence.empty() && padded <= lengths[0] * row && input.size(dim) > 0) {
    // One copy for all pieces: [outer, n * length, inner] -> [n, outer, length, inner].
    return plain_contiguous(input.unflatten(dim, {n, lengths[0]}).movedim(dim, 0)).view({-1});
  }
  int64_t total = 0;
  for (int64_t length : lengths) total += std::max(length * row, padded);
  at::Tensor flat = at::empty({total}, input.options());
  std::vector<int64_t> offsets(n);
  int64_t offset = 0;
  for (int64_t p = 0; p < n; ++p) {
    const int64_t i = sequence.empty() ? p : sequence[p];
    offsets[i] = offset;
    offset += std::max(lengths[i] * row, padded);
  }
  for_runs(input, flat, dim, lengths, offsets,
           [](const at::Tensor& run, const at::Tensor& packed) { copy_strided(packed, run); });
  return flat;
}

at::Tensor unpack(const Wire& wire, const at::Tensor& flat, c10::IntArrayRef sizes, int64_t dim,
                  const std::vector<int64_t>& lengths, const std::vector<int64_t>& offsets) {
  Sizes full_sizes(sizes.begin(), sizes.end());
  full_sizes[dim] = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const int64_t row = row_elements(sizes, dim);
  bool adjacent = true;
  int64_t next = offsets.empty() ? 0 : offsets[0];
  for (size_t p = 0; p < lengths.size(); ++p) {
    adjacent = adjacent && offsets[p] == next;
    next = offsets[p] + lengths[p] * row;
  }
  if (adjacent && is_leading(sizes, dim)) {
    const int64_t start = offsets.empty() ? 0 : offsets[0];
    return wire.result(flat.narrow(0, start, next - start).view(full_sizes));
  }
  at::Tensor out = wire.empty_result(full_sizes, flat.scalar_type());
  if (out.is_cuda()) {
    for_runs(out, flat, dim, lengths, offsets, &copy_strided);
    return wire.unpermuted(out);
  }
  std::vector<at::Tensor> pieces;
  pieces.reserve(lengths.size());
  Sizes piece(sizes.begin(), sizes.end());
  for (size_t p = 0; p < lengths.size(); ++p) {
    piece[dim] = lengths[p];
    pieces.push_back(flat.narrow(0, offsets[p], lengths[p] * row).view(piece));
  }
  at::cat_out(out, pieces, dim);
  return wire.unpermuted(out);
}

}  // namespace weft::comm
