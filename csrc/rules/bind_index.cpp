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

}  // namespace

bool bind_index(const Call& call, BoundRule& bound, std::string& why) {
  // self, indices (a list with gaps), for index_put also values. Dimensions without an index are free.
  const TensorInfo& self = call.tensors[0];
  const int indices = call.op.argument("indices");
  std::vector<int> indexed;
  int64_t index_rank = 0;
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    if (t.argument != indices || !t.defined) continue;
    if (t.dtype == at::kBool || t.dtype == at::kByte) {
      why = "its result's shape depends on a mask's values";
      return false;
    }
    indexed.push_back(t.element);
    index_rank = std::max(index_rank, t.ndim());
  }
  bound.tensors.clear();
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
  const bool put = call.tensor("values") >= 0;
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

bool bind_view_backward(const Call& call, BoundRule& bound, std::string& why) {
  // select_backward, slice_backward, ...: zeros of the input's sizes with the gradient at its place.
  const TensorInfo& grad = call.tensors[0];
  const Sizes& out = call.results[0].geometry.sizes;
  const std::string name = call.op.short_name.substr(0, call.op.short_name.find('.'));
  const int64_t n = static_cast<int64_t>(out.size());
  bound.tensors.resize(1);
  bound.results.resize(1);
  bound.tensors[0].operand = bound.results[0].operand = 0;
  bound.tensors[0].dims.resize(grad.ndim());
  bound.results[0].dims.resize(n);
  int64_t dim = call.value("dim") != nullptr ? call.value("dim")->toInt() : 0;
  if (dim < 0) dim += n;
  const bool dropped = name == "select_backward";
  for (int64_t d = 0; d < n; ++d) {
    if (d == dim) continue;
    const int64_t source = dropped && d > dim ? d - 1 : d;
    if (source >= grad.ndim()) return why = "its gradient has an unusual shape", false;
    const int f = bound.add_factor(out[d]);
    bound.tensors[0].dims[source].push_back(f);
    bound.results[0].dims[d].push_back(f);
  }
  bound.pending.push_back({{0}, false});
  bound.sizes_argument = call.op.argument("input_sizes");
  finish(call, bound);
  return true;
}

}  // namespace weft::rules
