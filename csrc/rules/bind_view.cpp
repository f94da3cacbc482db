#include "rules/bind_view.h"

#include <algorithm>

#include "rules/op_info.h"
#include "rules/overloads.h"

namespace weft::rules {
namespace {

// The one tensor the op views; its other tensors (none, usually) stay replicated.
void start(const Call& call, BoundRule& bound) {
  bound.tensors.resize(call.tensors.size());
  for (size_t i = 1; i < bound.tensors.size(); ++i) {
    bound.tensors[i].ruled = false;
    bound.tensors[i].dims.resize(call.tensors[i].geometry.sizes.size());
  }
  bound.tensors[0].operand = 0;
  bound.tensors[0].dims.resize(call.tensors[0].geometry.sizes.size());
  bound.results.resize(call.results.size());
  for (size_t r = 0; r < call.results.size(); ++r) {
    bound.results[r].operand = static_cast<int>(r);
    bound.results[r].dims.resize(call.results[r].geometry.sizes.size());
  }
  bound.pending.push_back({{0}, true});
}

}  // namespace

bool bind_reshape(const Call& call, BoundRule& bound, std::string&) {
  start(call, bound);
  const Sizes& in = call.tensors[0].geometry.sizes;
  const Sizes& out = call.results[0].geometry.sizes;
  auto& from = bound.tensors[0].dims;
  auto& to = bound.results[0].dims;
  if (call.tensors[0].geometry.numel() == 0) {
    // Groups cannot be told from products of zero: dimensions that agree from the left stay what they are.
    for (size_t d = 0; d < std::min(in.size(), out.size()) && in[d] == out[d]; ++d) {
      const int f = bound.add_factor(in[d]);
      from[d].push_back(f);
      to[d].push_back(f);
    }
  } else {
    // Walk both shapes, cutting off the greatest common factor of what is left of the current dimensions: factors in
    // row-major order. Where neither divides the other the two fold across each other and cannot be split.
    size_t i = 0, o = 0;
    int64_t left_in = in.empty() ? 1 : in[0], left_out = out.empty() ? 1 : out[0];
    while (i < in.size() || o < out.size()) {
      while (i < in.size() && left_in == 1) left_in = ++i < in.size() ? in[i] : 1;
      while (o < out.size() && left_out == 1) left_out = ++o < out.size() ? out[o] : 1;
      if (i >= in.size() || o >= out.size()) break;
      // Factors run major to minor, so the piece taken is what the rest of the smaller dimension is.
      if (left_in == left_out || left_in % left_out == 0 || left_out % left_in == 0) {
        const int64_t piece = std::min(left_in, left_out);
        const int f = bound.add_factor(piece);
        from[i].push_back(f);
        to[o].push_back(f);
        left_in /= piece;
        left_out /= piece;
        continue;
      }
      // No common cut: one unsplittable factor up to where the products meet again.
      const int f = bound.add_factor(-1, false);
      int64_t product_in = left_in, product_out = left_out;
      from[i].push_back(f);
      to[o].push_back(f);
      while (product_in != product_out) {
        if (product_in < product_out) {
          product_in *= in[++i];
          from[i].push_back(f);
        } else {
          product_out *= out[++o];
          to[o].push_back(f);
        }
      }
      left_in = left_out = 1;
    }
  }
  // A factor that must be even only for the sake of a split inside the group is judged by finish().
  bound.sizes_argument = call.op.argument("size");
  if (bound.sizes_argument < 0) bound.sizes_argument = call.op.argument("shape");
  finish(call, bound);
  return true;
}

bool bind_dims(const Call& call, BoundRule& bound, std::string& why) {
  start(call, bound);
  const TensorInfo& self = call.tensors[0];
  const int64_t n = self.ndim();
  std::vector<int> factor(n);
  for (int64_t d = 0; d < n; ++d) {
    factor[d] = bound.add_factor(self.geometry.sizes[d]);
    bound.tensors[0].dims[d].push_back(factor[d]);
  }
  const std::string name = view_of(call.op.short_name.substr(0, call.op.short_name.find('.')));
  // sources[d]: the input dimension of result dimension d; -1: none.
  std::vector<int64_t> sources;
  std::vector<bool> whole(n, false);
  auto all = [&] {
    for (int64_t d = 0; d < n; ++d) sources.push_back(d);
  };
  auto wrapped = [&](const char* argument, int64_t rank) {
    const c10::IValue* v = call.value(argument);
    const int64_t d = v != nullptr && v->isInt() ? v->toInt() : 0;
    return d < 0 ? d + rank : d;
  };
  if (name == "t" || name == "numpy_T") {
    all();
    std::reverse(sources.begin(), sources.end());
  } else if (name == "transpose") {
    all();
    if (n > 0) std::swap(sources[wrapped("dim0", n)], sources[wrapped("dim1", n)]);
  } else if (name == "permute") {
    for (int64_t d : call.dims("dims", n)) sources.push_back(d);
    if (n == 0) sources.clear();
  } else if (name == "unsqueeze") {
    all();
    sources.insert(sources.begin() + wrapped("dim", n + 1), -1);
  } else if (name == "squeeze") {
    std::vector<int64_t> dims;
    if (call.op.argument("dim") < 0) {
      for (int64_t d = 0; d < n; ++d) dims.push_back(d);
    } else {
      const c10::IValue* v = call.value("dim");
      if (!v->isIntList() || !v->toIntVector().empty()) dims = call.dims("dim", n);
    }
    for (int64_t d = 0; d < n; ++d) {
      const bool gone = self.geometry.sizes[d] == 1 && std::find(dims.begin(), dims.end(), d) != dims.end();
      if (gone) {
        whole[d] = true;
      } else {
        sources.push_back(d);
      }
    }
    // A shard may be of length 1 where the whole is not.
    if (call.op.short_name == "squeeze.dims" || call.op.short_name == "squeeze_copy.dims") {
      std::vector<int64_t> gone;
      for (int64_t d = 0; d < n; ++d) {
        if (whole[d]) gone.push_back(d);
      }
      bound.replaced.emplace_back(call.op.argument("dim"), std::move(gone));
    }
  } else if (name == "select" || name == "unbind") {
    const int64_t dim = wrapped("dim", n);
    for (int64_t d = 0; d < n; ++d) {
      if (d != dim) sources.push_back(d);
    }
    if (dim < n) whole[dim] = true;
  } else if (name == "slice" || name == "split" || name == "split_with_sizes" || name == "narrow" || name == "chunk") {
    all();
    const int64_t dim = wrapped("dim", n);
    if (dim < n && !(name == "slice" && call.results[0].geometry.sizes[dim] == self.geometry.sizes[dim] &&
                     call.results[0].geometry.strides[dim] == self.geometry.strides[dim])) {
      whole[dim] = true;
    }
  } else if (name == "expand") {
    const int64_t m = static_cast<int64_t>(call.results[0].geometry.sizes.size());
    for (int64_t d = 0; d < m; ++d) sources.push_back(d - (m - n));
    for (int64_t& d : sources) d = d < 0 ? -1 : d;
    for (int64_t d = 0; d < n; ++d) whole[d] = self.geometry.sizes[d] != call.results[0].geometry.sizes[d + m - n];
    bound.sizes_argument = call.op.argument("size");
  } else if (name == "diagonal") {
    const int64_t a = wrapped("dim1", n), b = [&] {
      const int64_t d = call.value("dim2")->toInt();
      return d < 0 ? d + n : d;
    }();
    for (int64_t d = 0; d < n; ++d) {
      if (d != a && d != b) sources.push_back(d);
    }
    sources.push_back(-1);
    whole[a] = whole[b] = true;
  } else if (name == "diag_embed") {
    const int64_t a = wrapped("dim1", n + 1), b = wrapped("dim2", n + 1);
    for (int64_t d = 0, source = 0; d <= n; ++d) sources.push_back(d == a || d == b ? -1 : source++);
    whole[n - 1] = true;
  } else if (name == "unfold") {
    all();
    const int64_t dim = wrapped("dimension", n);
    if (n > 0) {
      whole[dim] = true;
      sources.push_back(-1);
    }
  } else if (name == "view_as_real" || name == "view_as_complex") {
    all();
    if (name == "view_as_real") {
      sources.push_back(-1);
    } else {
      sources.pop_back();
      whole[n - 1] = true;
    }
  } else if (name == "constant_pad_nd") {
    all();
    const auto pad = call.value("pad")->toIntVector();
    for (size_t k = 0; k < pad.size(); ++k) {
      if (pad[k] != 0) whole[n - 1 - static_cast<int64_t>(k / 2)] = true;
    }
    bound.pending.clear();
  } else if (name == "repeat") {
    const int64_t m = static_cast<int64_t>(call.results[0].geometry.sizes.size());
    for (int64_t d = 0; d < m; ++d) sources.push_back(d - (m - n) < 0 ? -1 : d - (m - n));
    for (int64_t d = 0; d < n; ++d) whole[d] = self.geometry.sizes[d] != call.results[0].geometry.sizes[d + m - n];
  } else {
    why = "its view is not known";
    return false;
  }
  for (int64_t d = 0; d < n; ++d) bound.factors[factor[d]].whole = whole[d];
  for (auto& result : bound.results) {
    for (size_t d = 0; d < result.dims.size() && d < sources.size(); ++d) {
      if (sources[d] >= 0 && !whole[sources[d]]) result.dims[d].push_back(factor[sources[d]]);
    }
  }
  finish(call, bound);
  return true;
}

}  // namespace weft::rules
