#include "rules/bind_view.h"

#include <algorithm>
#include <utility>

#include "rules/op_info.h"

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
      // No common cut: unsplittable factors up to where the products meet again, as long as what they are minor to
      // needs them to be.
      int64_t product_in = left_in, product_out = left_out;
      from[i].push_back(bound.add_factor(left_in, false));
      to[o].push_back(bound.add_factor(left_out, false));
      while (product_in != product_out) {
        if (product_in < product_out) {
          product_in *= in[++i];
          from[i].push_back(bound.add_factor(in[i], false));
        } else {
          product_out *= out[++o];
          to[o].push_back(bound.add_factor(out[o], false));
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

namespace {

// Where the result's dimensions come from.
struct Dims {
  const Call& call;
  BoundRule& bound;
  const TensorInfo& self = call.tensors[0];
  const int64_t n = self.ndim();
  std::vector<int64_t> sources = {};                                           // per result dimension; -1: none
  std::vector<bool> whole = std::vector<bool>(static_cast<size_t>(n), false);  // input dimensions that stay unsplit

  void all() {
    for (int64_t d = 0; d < n; ++d) sources.push_back(d);
  }
  // All but one, and that one unsplit.
  void all_but(int64_t dim) {
    all();
    if (dim >= n) return;
    sources.erase(sources.begin() + dim);
    whole[dim] = true;
  }
  int64_t dim(const char* argument, int64_t rank) const {
    const c10::IValue* v = call.value(argument);
    const int64_t d = v != nullptr && v->isInt() ? v->toInt() : 0;
    return d < 0 ? d + std::max<int64_t>(rank, 1) : d;
  }
  const Geometry& result() const { return call.results[0].geometry; }
  // The result's dimensions are the input's, right-aligned; those whose lengths differ stay unsplit.
  void aligned() {
    const int64_t m = static_cast<int64_t>(result().sizes.size());
    for (int64_t d = 0; d < m; ++d) sources.push_back(std::max<int64_t>(d - (m - n), -1));
    for (int64_t d = 0; d < n; ++d) whole[d] = self.geometry.sizes[d] != result().sizes[d + m - n];
  }
};

// Binds a view by what `find` tells of its dimensions.
bool bind_dims(const Call& call, BoundRule& bound, void (*find)(Dims& view)) {
  start(call, bound);
  Dims view{call, bound};
  std::vector<int> factor;
  for (int64_t d = 0; d < view.n; ++d) {
    factor.push_back(bound.add_factor(view.self.geometry.sizes[d]));
    bound.tensors[0].dims[d].push_back(factor[d]);
  }
  find(view);
  for (int64_t d = 0; d < view.n; ++d) bound.factors[factor[d]].whole = view.whole[d];
  for (auto& result : bound.results) {
    for (size_t d = 0; d < result.dims.size() && d < view.sources.size(); ++d) {
      const int64_t source = view.sources[d];
      if (source >= 0 && !view.whole[source]) result.dims[d].push_back(factor[source]);
    }
  }
  finish(call, bound);
  return true;
}

}  // namespace

bool bind_t(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    v.all();
    std::reverse(v.sources.begin(), v.sources.end());
  });
}

bool bind_transpose(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    v.all();
    if (v.n > 0) std::swap(v.sources[v.dim("dim0", v.n)], v.sources[v.dim("dim1", v.n)]);
  });
}

bool bind_permute(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    if (v.n > 0) v.sources = v.call.dims("dims", v.n);
  });
}

bool bind_unsqueeze(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    v.all();
    v.sources.insert(v.sources.begin() + v.dim("dim", v.n + 1), -1);
  });
}

bool bind_squeeze(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    std::vector<int64_t> dims;
    if (v.call.op.argument("dim") < 0) {
      for (int64_t d = 0; d < v.n; ++d) dims.push_back(d);
    } else {
      const c10::IValue* given = v.call.value("dim");
      if (!given->isIntList() || !given->toIntVector().empty()) dims = v.call.dims("dim", v.n);
    }
    std::vector<int64_t> gone;
    for (int64_t d = 0; d < v.n; ++d) {
      v.whole[d] = v.self.geometry.sizes[d] == 1 && std::find(dims.begin(), dims.end(), d) != dims.end();
      (v.whole[d] ? gone : v.sources).push_back(d);
    }
    // A shard may be of length 1 where the full tensor is not.
    const int argument = v.call.op.argument("dim");
    if (argument >= 0 && v.call.value("dim")->isIntList()) v.bound.replaced.emplace_back(argument, std::move(gone));
  });
}

bool bind_select(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) { v.all_but(v.dim("dim", v.n)); });
}

bool bind_split(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    v.all();
    const int64_t dim = v.dim("dim", v.n);
    if (dim < v.n) v.whole[dim] = true;
  });
}

// A slice of everything is none.
bool bind_slice(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    v.all();
    const int64_t dim = v.dim("dim", v.n);
    const Geometry &from = v.self.geometry, &to = v.result();
    if (dim < v.n) v.whole[dim] = to.sizes[dim] != from.sizes[dim] || to.strides[dim] != from.strides[dim];
  });
}

bool bind_expand(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    v.aligned();
    v.bound.sizes_argument = v.call.op.argument("size");
  });
}

bool bind_diagonal(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    const int64_t a = v.dim("dim1", v.n), b = v.dim("dim2", v.n);
    for (int64_t d = 0; d < v.n; ++d) {
      if (d != a && d != b) v.sources.push_back(d);
    }
    v.sources.push_back(-1);
    v.whole[a] = v.whole[b] = true;
  });
}

bool bind_diag_embed(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    const int64_t a = v.dim("dim1", v.n + 1), b = v.dim("dim2", v.n + 1);
    for (int64_t d = 0, source = 0; d <= v.n; ++d) v.sources.push_back(d == a || d == b ? -1 : source++);
    v.whole[v.n - 1] = true;
  });
}

bool bind_unfold(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    v.all();
    if (v.n == 0) return;
    v.whole[v.dim("dimension", v.n)] = true;
    v.sources.push_back(-1);
  });
}

bool bind_view_as_real(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    v.all();
    v.sources.push_back(-1);
  });
}

bool bind_view_as_complex(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) { v.all_but(v.n - 1); });
}

bool bind_pad(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) {
    v.all();
    const auto pad = v.call.value("pad")->toIntVector();
    for (size_t k = 0; k < pad.size(); ++k) {
      if (pad[k] != 0) v.whole[v.n - 1 - static_cast<int64_t>(k / 2)] = true;
    }
    v.bound.pending.clear();
  });
}

bool bind_repeat(const Call& call, BoundRule& bound, std::string&) {
  return bind_dims(call, bound, [](Dims& v) { v.aligned(); });
}

}  // namespace weft::rules
