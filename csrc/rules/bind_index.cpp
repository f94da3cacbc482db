// index, index_put, factories and the backward of views: rules that depend on arguments in their own ways.
#include "rules/bind_index.h"

#include <algorithm>

#include "rules/op_info.h"

namespace weft::rules {
namespace {

BoundRule::Tensor unruled(const TensorInfo& t) {
  BoundRule::Tensor out;
  out.ruled = false;
  out.dims.resize(t.geometry.sizes.size());
  return out;
}

bool is_mask(const TensorInfo& t) { return t.dtype == at::kBool || t.dtype == at::kByte; }

// self, one mask over some of its dimensions, values that are the same for all places that it chooses: each rank
// writes to its own.
bool bind_masked_write(const Call& call, size_t mask, BoundRule& bound) {
  const TensorInfo &self = call.tensors[0], &chosen = call.tensors[mask];
  const int v = call.tensor("values");
  const TensorInfo& values = call.tensors[v];
  const int64_t from = chosen.element, to = from + chosen.ndim();
  std::vector<int> written;  // factors of what is written; -1: the places
  for (const TensorInfo& t : call.tensors) bound.tensors.push_back(unruled(t));
  for (const auto& [i, operand] : {std::pair<size_t, int>{0, 0}, {mask, 1}, {static_cast<size_t>(v), 2}}) {
    bound.tensors[i].ruled = true;
    bound.tensors[i].operand = operand;
  }
  bound.results.resize(call.results.size());
  for (auto& r : bound.results) r.operand = 0;
  for (int64_t d = 0; d < self.ndim(); ++d) {
    const int factor = bound.add_factor(self.geometry.sizes[d]);
    bound.tensors[0].dims[d].push_back(factor);
    for (auto& r : bound.results) r.dims.push_back({factor});
    if (d == from) written.push_back(-1);
    if (d >= from && d < to) {
      bound.tensors[mask].dims[d - from].push_back(factor);
    } else {
      written.push_back(factor);
    }
  }
  for (int64_t d = 0; d < values.ndim(); ++d) {
    const int64_t s = d + static_cast<int64_t>(written.size()) - values.ndim();
    if (s < 0 || values.geometry.sizes[d] == 1) continue;
    if (written[s] < 0) return false;
    bound.tensors[v].dims[d].push_back(written[s]);
  }
  finish(call, bound);
  return true;
}

}  // namespace

bool bind_index(const Call& call, BoundRule& bound, std::string& why) {
  // self, indices (a list with gaps), for index_put also values. Dimensions without an index are free.
  const TensorInfo& self = call.tensors[0];
  const int indices = call.op.argument("indices");
  std::vector<int> indexed;
  std::vector<size_t> masks;
  int64_t index_rank = 0;
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (t.argument != indices || !t.defined) continue;
    if (is_mask(t)) masks.push_back(i);
    indexed.push_back(t.element);
    index_rank = std::max(index_rank, t.ndim());
  }
  const bool put = call.tensor("values") >= 0;
  bound.tensors.clear();
  if (!masks.empty()) {
    const bool one = put && indexed.size() == 1 && call.tensors[masks[0]].ndim() > 0;
    if (one && bind_masked_write(call, masks[0], bound)) return true;
    why = "its result's shape depends on a mask's values";
    return false;
  }
  for (const TensorInfo& t : call.tensors) bound.tensors.push_back(unruled(t));
  bound.tensors[0].ruled = true;
  bound.tensors[0].operand = 0;
  std::vector<int> factor(self.ndim());
  for (int64_t d = 0; d < self.ndim(); ++d) {
    factor[d] = bound.add_factor(self.geometry.sizes[d]);
    bound.tensors[0].dims[d].push_back(factor[d]);
  }
  // Index dimensions, right-aligned, split together.
  std::vector<int> index_factor(index_rank);
  for (int64_t k = 0; k < index_rank; ++k) {
    int64_t size = 1;
    for (size_t i = 0; i < call.tensors.size(); ++i) {
      const TensorInfo& t = call.tensors[i];
      const int64_t d = k - (index_rank - t.ndim());
      if (t.argument == indices && t.defined && d >= 0 && t.geometry.sizes[d] != 1) size = t.geometry.sizes[d];
    }
    index_factor[k] = bound.add_factor(size);
  }
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (t.argument != indices || !t.defined) continue;
    bound.tensors[i].ruled = true;
    bound.tensors[i].operand = 1;
    for (int64_t d = 0; d < t.ndim(); ++d) bound.tensors[i].dims[d].push_back(index_factor[d + index_rank - t.ndim()]);
  }
  const bool adjacent =
      std::adjacent_find(indexed.begin(), indexed.end(), [](int a, int b) { return b != a + 1; }) == indexed.end();
  std::vector<int> shape;  // factors of what is read (written)
  auto push_index = [&] { shape.insert(shape.end(), index_factor.begin(), index_factor.end()); };
  if (!adjacent) push_index();
  bool pushed = !adjacent;
  for (int d = 0; d < self.ndim(); ++d) {
    if (std::find(indexed.begin(), indexed.end(), d) != indexed.end()) {
      bound.factors[factor[d]].whole = true;
      if (!pushed) push_index();
      pushed = true;
    } else {
      shape.push_back(factor[d]);
    }
  }
  bound.results.resize(call.results.size());
  for (auto& r : bound.results) r.operand = 0;
  if (!put) {
    if (bound.results[0].dims.assign(call.results[0].geometry.sizes.size(), {});
        bound.results[0].dims.size() != shape.size()) {
      why = "its indices have an unusual shape";
      return false;
    }
    for (size_t d = 0; d < shape.size(); ++d) bound.results[0].dims[d].push_back(shape[d]);
    bound.pending.push_back({{0}, true});
  } else {
    // Each rank would write its own part of the indices only: those stay whole.
    for (int f : index_factor) bound.factors[f].whole = true;
    const int v = call.tensor("values");
    const TensorInfo& values = call.tensors[v];
    bound.tensors[v].ruled = true;
    bound.tensors[v].operand = 2;
    for (int64_t d = 0; d < values.ndim(); ++d) {
      const int64_t s = d + static_cast<int64_t>(shape.size()) - values.ndim();
      if (s >= 0) bound.tensors[v].dims[d].push_back(shape[s]);
    }
    for (auto& r : bound.results) {
      for (int64_t d = 0; d < self.ndim(); ++d) r.dims.push_back({factor[d]});
    }
  }
  finish(call, bound);
  return true;
}

bool bind_new(const Call& call, BoundRule& bound, std::string&) {
  // new_zeros(self, size): laid out as self where the shape is self's, else replicated.
  const Sizes& size = call.results[0].geometry.sizes;
  const bool like_self = size == call.tensors[0].geometry.sizes;
  bound.tensors.resize(1);
  bound.results.resize(1);
  bound.tensors[0].shape_only = true;
  bound.tensors[0].operand = bound.results[0].operand = 0;
  bound.tensors[0].dims.resize(call.tensors[0].geometry.sizes.size());
  bound.results[0].dims.resize(size.size());
  for (size_t d = 0; d < call.tensors[0].geometry.sizes.size(); ++d) {
    const int f = bound.add_factor(call.tensors[0].geometry.sizes[d]);
    bound.tensors[0].dims[d].push_back(f);
    if (like_self) bound.results[0].dims[d].push_back(f);
    bound.factors[f].free = true;
  }
  bound.sizes_argument = call.op.argument("size");
  bound.strides_argument = call.op.argument("stride");
  finish(call, bound);
  return true;
}

namespace {

// What a view that was cut out of a tensor of rank `n` has of each dimension of it; -1: the dimension was cut.
std::vector<int64_t> cut_sources(const Call& call, int64_t n) {
  const std::string name = call.op.short_name.substr(0, call.op.short_name.find('_'));
  auto wrapped = [&](const char* argument) {
    const int64_t d = call.value(argument)->toInt();
    return d < 0 ? d + n : d;
  };
  const bool diagonal = name == "diagonal", dropped = diagonal || name == "select";
  const int64_t a = wrapped(diagonal ? "dim1" : "dim"), b = diagonal ? wrapped("dim2") : a;
  std::vector<int64_t> sources;
  for (int64_t d = 0, next = 0; d < n; ++d) {
    const bool cut = d == a || d == b;
    sources.push_back(cut ? -1 : next);
    next += !(cut && dropped);
  }
  return sources;
}

}  // namespace

bool bind_view_backward(const Call& call, BoundRule& bound, std::string& why) {
  // select_backward, slice_backward, ...: zeros of the input's sizes with the gradient at its place.
  const TensorInfo& grad = call.tensors[0];
  const Sizes& out = call.results[0].geometry.sizes;
  const int64_t n = static_cast<int64_t>(out.size());
  bound.tensors.resize(1);
  bound.results.resize(1);
  bound.tensors[0].operand = bound.results[0].operand = 0;
  bound.tensors[0].dims.resize(grad.ndim());
  bound.results[0].dims.resize(n);
  const std::vector<int64_t> sources = cut_sources(call, n);
  for (int64_t d = 0; d < n; ++d) {
    if (sources[d] < 0) continue;
    if (sources[d] >= grad.ndim()) return why = "its gradient has an unusual shape", false;
    const int f = bound.add_factor(out[d]);
    bound.tensors[0].dims[sources[d]].push_back(f);
    bound.results[0].dims[d].push_back(f);
  }
  bound.pending.push_back({{0}, false});
  bound.sizes_argument = call.op.argument("input_sizes");
  finish(call, bound);
  return true;
}

bool bind_real_fft(const Call& call, BoundRule& bound, std::string& why) {
  const TensorInfo& self = call.tensors[0];
  const auto transformed = call.dims("dim", self.ndim());
  if (transformed.size() != 1) return why = "it transforms several dimensions", false;
  // Kernels to real results order those in memory as their input is, which their meta kernel does not say.
  const Sizes& sizes = self.geometry.sizes;
  if (at::isComplexType(self.dtype) && !row_major(sizes, dense_strides(sizes, self.geometry.strides))) {
    return why = "its input's memory order decides its result's", false;
  }
  bound.tensors.resize(1);
  bound.results.resize(1);
  bound.tensors[0].operand = bound.results[0].operand = 0;
  bound.tensors[0].dims.resize(self.ndim());
  bound.results[0].dims.resize(self.ndim());
  for (int64_t d = 0; d < self.ndim(); ++d) {
    if (d == transformed[0]) continue;
    const int f = bound.add_factor(self.geometry.sizes[d]);
    bound.tensors[0].dims[d].push_back(f);
    bound.results[0].dims[d].push_back(f);
  }
  bound.pending.push_back({{0}, false});
  finish(call, bound);
  return true;
}

bool bind_view_scatter(const Call& call, BoundRule& bound, std::string& why) {
  // select_scatter, slice_scatter, ...: self with another tensor in the place of a view of it.
  const Sizes &self = call.tensors[0].geometry.sizes, &src = call.tensors[1].geometry.sizes;
  const int64_t n = static_cast<int64_t>(self.size());
  bound.tensors.resize(2);
  bound.results.resize(1);
  bound.tensors[0].operand = bound.results[0].operand = 0;
  bound.tensors[1].operand = 1;
  bound.tensors[0].dims.resize(n);
  bound.tensors[1].dims.resize(src.size());
  bound.results[0].dims.resize(n);
  const std::vector<int64_t> sources = cut_sources(call, n);
  for (int64_t d = 0; d < n; ++d) {
    if (sources[d] < 0) continue;
    const bool fits = sources[d] < static_cast<int64_t>(src.size()) && src[sources[d]] == self[d];
    if (!fits) return why = "its source has an unusual shape", false;
    const int f = bound.add_factor(self[d]);
    bound.tensors[0].dims[d].push_back(f);
    bound.tensors[1].dims[sources[d]].push_back(f);
    bound.results[0].dims[d].push_back(f);
  }
  bound.pending.push_back({{0, 1}, false});
  finish(call, bound);
  return true;
}

}  // namespace weft::rules
