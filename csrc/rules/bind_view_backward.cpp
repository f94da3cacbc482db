// A tensor around what a view has cut out of it.
#include "rules/bind_view.h"
#include "rules/op_info.h"

namespace weft::rules {
namespace {

// What a view that was cut out of a tensor of rank `n` has of each dimension of it; -1: the dimension was cut.
std::vector<int64_t> cut_sources(const Call& call, int64_t n) {
  auto wrapped = [&](const char* argument) {
    const int64_t d = call.value(argument)->toInt();
    return d < 0 ? d + n : d;
  };
  const bool diagonal = call.op.argument("dim1") >= 0, dropped = diagonal || call.op.argument("index") >= 0;
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
