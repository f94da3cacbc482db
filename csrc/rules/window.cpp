#include "rules/window.h"

#include <algorithm>

#include "rules/op_info.h"

namespace weft {
namespace {

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }
int64_t ceil_div(int64_t a, int64_t b) { return -floor_div(-a, b); }

// An entry of an int list, counted from its end; one entry alone is that of all dimensions.
int64_t entry(const Call& call, const char* name, int64_t from_end, int64_t absent) {
  const c10::IValue* v = call.value(name);
  if (v == nullptr || !v->isIntList()) return absent;
  const auto list = v->toIntVector();
  if (list.empty()) return absent;
  return list.size() == 1 ? list[0] : list[list.size() - from_end];
}

}  // namespace

Rows Rows::common(const Rows& other) const {
  const Rows both{std::max(begin, other.begin), std::min(end, other.end)};
  return both.empty() ? Rows{} : both;
}

Rows Window::reads(const Rows& results) const {
  const int64_t first = results.begin, last = results.end - 1;
  if (!transposed) return {first * stride - padding, last * stride - padding + reach() + 1};
  // Result o gets input i where o = i * stride - padding + j * dilation. Rows in gaps get nothing, but have a place.
  Rows reads{std::min(ceil_div(first + padding - reach(), stride), floor_div(first + padding, stride)),
             floor_div(last + padding, stride) + 1};
  while ((reads.end - 1) * stride + reach() - padding < last) ++reads.end;
  return reads;
}

int64_t Window::first_result(const Rows& results) const {
  return transposed ? reads(results).begin * stride - padding : results.begin;
}

int64_t Window::results_of(const Rows& reads) const {
  return transposed ? (reads.length() - 1) * stride + reach() + 1 : (reads.length() - reach() - 1) / stride + 1;
}

std::optional<Window> window_of(const Call& call, int64_t from_end, Window::Kind kind) {
  auto length = [&](const char* tensor) -> int64_t {
    const int i = call.tensor(tensor);
    if (i < 0) return -1;
    const auto& sizes = call.tensors[i].geometry.sizes;
    return sizes[sizes.size() - from_end];
  };
  Window w;
  w.kind = kind;
  w.in = std::max(length("input"), length("self"));
  w.out = length("grad_output");
  if (w.out < 0 && !call.results.empty()) {
    const auto& sizes = call.results[0].geometry.sizes;
    w.out = sizes[sizes.size() - from_end];
  }
  w.kernel = entry(call, "kernel_size", from_end, length("weight"));
  w.stride = entry(call, "stride", from_end, w.kernel);
  w.padding = entry(call, "padding", from_end, 0);
  w.dilation = entry(call, "dilation", from_end, 1);
  w.transposed = call.flag("transposed");
  if (w.in < 1 || w.out < 1 || w.kernel < 1 || w.stride < 1 || w.dilation < 1 || w.padding < 0) return std::nullopt;
  return w;
}

}  // namespace weft
