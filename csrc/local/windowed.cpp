#include "local/windowed.h"

#include <ATen/Functions.h>

#include <limits>

#include "comm/lockstep/failure.h"
#include "comm/wire/collectives.h"

namespace weft {
namespace {

using Stack = std::vector<c10::IValue>;

at::Tensor empty_with(const at::Tensor& like, int64_t dim, int64_t length) {
  Sizes sizes(like.sizes().begin(), like.sizes().end());
  sizes[dim] = length;
  return at::empty_strided(sizes, dense_strides(sizes, like.strides()), like.options());
}

at::Tensor slice(const at::Tensor& t, int64_t dim, const Rows& rows, int64_t origin) {
  return t.narrow(dim, rows.begin - origin, rows.length());
}

std::vector<at::Tensor> exchange(const Halo& h, const at::Tensor& t, int64_t dim, const std::vector<Rows>& sent,
                                 int64_t origin, const std::vector<Rows>& received, Mesh mesh) {
  std::vector<IndexRange> slices;
  std::vector<int64_t> lengths;
  for (const Rows& rows : sent) slices.push_back({rows.empty() ? 0 : rows.begin - origin, rows.length()});
  for (const Rows& rows : received) lengths.push_back(rows.length());
  return comm::exchange_rows(t, dim, slices, lengths, mesh, h.axis);
}

// The rows h.reads, those outside the dimension filled.
at::Tensor fetch(const Halo& h, const at::Tensor& local, const at::Scalar& fill, Mesh mesh) {
  const int64_t dim = local.dim() - h.from_end;
  std::vector<at::Tensor> arrived;
  if (h.moves) arrived = exchange(h, local, dim, h.sent, h.held.begin, h.received, mesh);
  const Rows own = h.reads.common(h.held), real = h.reads.common({0, h.window.in});
  if (own.length() == h.reads.length()) return slice(local, dim, own, h.held.begin);
  at::Tensor out = empty_with(local, dim, h.reads.length());
  if (real.empty()) return out.fill_(fill);
  slice(out, dim, {h.reads.begin, real.begin}, h.reads.begin).fill_(fill);
  slice(out, dim, {real.end, h.reads.end}, h.reads.begin).fill_(fill);
  if (!own.empty()) slice(out, dim, own, h.reads.begin).copy_(slice(local, dim, own, h.held.begin));
  for (size_t c = 0; c < arrived.size(); ++c) {
    if (!h.received[c].empty()) slice(out, dim, h.received[c], h.reads.begin).copy_(arrived[c]);
  }
  return out;
}

// The inverse for gradients: of the rows h.reads, each to the rank that holds it, and added up there.
at::Tensor give_back(const Halo& h, const at::Tensor& gradient, Mesh mesh) {
  const int64_t dim = gradient.dim() - h.from_end;
  std::vector<at::Tensor> arrived;
  if (h.moves) arrived = exchange(h, gradient, dim, h.received, h.reads.begin, h.sent, mesh);
  const Rows own = h.reads.common(h.held);
  if (arrived.empty() && own.length() == gradient.size(dim) && own.length() == h.held.length()) return gradient;
  at::Tensor out = empty_with(gradient, dim, h.held.length()).zero_();
  if (!own.empty()) slice(out, dim, own, h.held.begin).copy_(slice(gradient, dim, own, h.reads.begin));
  for (size_t c = 0; c < arrived.size(); ++c) {
    if (!h.sent[c].empty()) slice(out, dim, h.sent[c], h.held.begin).add_(arrived[c]);
  }
  return out;
}

// Goes from this rank's rows of the result to all that the op gives on h.reads; the others are zeros.
at::Tensor widen(const Halo& h, const at::Tensor& rows) {
  const int64_t dim = rows.dim() - h.from_end, all = h.window.results_of(h.reads);
  if (h.results.length() == all) return rows;
  at::Tensor out = empty_with(rows, dim, all).zero_();
  if (h.has_results()) slice(out, dim, h.results, h.window.first_result(h.results)).copy_(rows);
  return out;
}

// And back.
at::Tensor crop(const Halo& h, const at::Tensor& all) {
  const int64_t dim = all.dim() - h.from_end;
  if (h.results.length() == all.size(dim)) return all;
  const int64_t first = h.has_results() ? h.window.first_result(h.results) : 0;
  return all.narrow(dim, h.has_results() ? h.results.begin - first : 0, h.results.length()).clone();
}

at::Scalar lowest(at::ScalarType dtype) {
  if (at::isFloatingType(dtype)) return -std::numeric_limits<double>::infinity();
  if (dtype == at::kByte) return 0;
  return std::numeric_limits<int64_t>::min() >> (64 - 8 * static_cast<int64_t>(c10::elementSize(dtype)));
}

// Flat positions in planes of `from` lengths (the last dimension first) as those in planes of `to` lengths; `move`
// takes the index along one dimension (counted from the last one) from the one plane to the other.
template <class Move>
at::Tensor move_positions(at::Tensor flat, const Sizes& from, const Sizes& to, Move&& move) {
  at::Tensor out = at::zeros_like(flat);
  int64_t stride = 1;
  for (size_t i = 0; i < from.size(); ++i) {
    const at::Tensor here = i + 1 < from.size() ? flat.remainder(from[i]) : flat;
    out.add_(move(here, static_cast<int64_t>(i) + 1), stride);
    flat = flat.floor_divide(from[i]);
    stride *= to[i];
  }
  return out;
}

}  // namespace

/// One call.
class WindowedCall::Run {
 public:
  /// Puts into the local arguments on the stack what the op is to run on.
  Run(const WindowedCall& call, const OpInfo& op, Mesh mesh, Stack& stack);
  /// Makes of the results on the stack this rank's parts.
  void finish(Stack& stack);

 private:
  /// Null where the dimension, counted from the last one, is not split.
  const Halo* halo_of(int64_t from_end) const;
  int64_t divisor(at::ScalarType dtype) const;
  /// Averages over whole windows made those over what each window has of the input (and of its padding); linear.
  at::Tensor corrected(at::Tensor averages, bool include_padding) const;
  at::Tensor global_positions(const at::Tensor& indices) const;
  at::Tensor local_positions(const at::Tensor& indices) const;

  const std::vector<Halo>& halos_;
  const std::vector<Window>& windows_;
  const OpInfo& op_;
  using Kind = Window::Kind;
  Mesh mesh_;
  const Kind kind_;
  size_t base_;
  bool backward_ = false, correct_ = false, include_padding_ = true;
  Sizes local_, global_;  // lengths of what the op runs on and of the full input, the last dimension first
};

void WindowedCall::run(const OpInfo& op, Mesh mesh, Stack& stack) const {
  Run run(*this, op, mesh, stack);
  comm::run_local(op.short_name, [&] { op.handle.callBoxed(&stack); });
  run.finish(stack);
}

WindowedCall::Run::Run(const WindowedCall& call, const OpInfo& op, Mesh mesh, Stack& stack)
    : halos_(call.halos_),
      windows_(call.windows_),
      op_(op),
      mesh_(mesh),
      kind_(windows_[0].kind),
      base_(stack.size() - op.arguments.size()) {
  auto at = [&](const char* name) -> c10::IValue& { return stack[base_ + op_.argument(name)]; };
  auto has = [&](const char* name) { return op_.argument(name) >= 0; };
  backward_ = has("grad_output");
  const char* input = has("input") ? "input" : "self";

  at::Tensor x = at(input).toTensor();
  if (backward_) {
    at::Tensor gradient = at("grad_output").toTensor();
    if (kind_ == Kind::average && !at("divisor_override").isInt()) {
      gradient = corrected(gradient, !has("count_include_pad") || at("count_include_pad").toBool());
    }
    for (const Halo& h : halos_) gradient = widen(h, gradient);
    at("grad_output") = gradient;
  }
  for (const Halo& h : halos_) {
    if (backward_ && kind_ != Kind::convolution) {
      x = empty_with(x, x.dim() - h.from_end, h.reads.length());  // its shape alone is read
    } else {
      x = fetch(h, x, kind_ == Kind::maximum ? lowest(x.scalar_type()) : at::Scalar(0), mesh);
    }
  }
  at(input) = x;
  for (size_t i = 0; i < windows_.size(); ++i) {
    local_.push_back(x.size(x.dim() - 1 - static_cast<int64_t>(i)));
    global_.push_back(windows_[i].in);
  }
  for (const char* name : {"padding", "output_padding"}) {
    if (!has(name)) continue;
    std::vector<int64_t> list = at(name).toIntVector();
    if (list.size() == 1) list.assign(windows_.size(), list[0]);
    for (const Halo& h : halos_) list[list.size() - h.from_end] = 0;
    at(name) = std::move(list);
  }
  if (kind_ == Kind::average && !at("divisor_override").isInt()) {
    include_padding_ = at("count_include_pad").toBool();
    correct_ = !backward_;
    at("divisor_override") = divisor(x.scalar_type());
  }
  if (kind_ == Kind::maximum && backward_) {
    at::Tensor indices = local_positions(at("indices").toTensor());
    for (const Halo& h : halos_) indices = widen(h, indices);
    at("indices") = indices;
  }
}

const Halo* WindowedCall::Run::halo_of(int64_t from_end) const {
  for (const Halo& h : halos_) {
    if (h.from_end == from_end) return &h;
  }
  return nullptr;
}

void WindowedCall::Run::finish(Stack& stack) {
  const size_t first = stack.size() - op_.results.size();
  if (backward_) {
    at::Tensor gradient = stack[first].toTensor();
    // Corners came by way of both dimensions, and go back so.
    for (size_t i = halos_.size(); gradient.defined() && i-- > 0;) {
      gradient = give_back(halos_[i], gradient, mesh_);
    }
    stack[first] = gradient;
    return;
  }
  for (size_t r = first; r < stack.size(); ++r) {
    at::Tensor result = stack[r].toTensor();
    for (const Halo& h : halos_) result = crop(h, result);
    if (correct_) result = corrected(result, include_padding_);
    if (r > first) result = global_positions(result);
    stack[r] = result;
  }
}

// The whole window, so that nothing overflows that an average does not; integers are divided but once.
int64_t WindowedCall::Run::divisor(at::ScalarType dtype) const {
  int64_t cells = 1;
  for (const Window& w : windows_) cells *= w.kernel;
  return at::isFloatingType(dtype) ? cells : 1;
}

at::Tensor WindowedCall::Run::corrected(at::Tensor averages, bool include_padding) const {
  at::Tensor cells = at::ones({}, averages.options().dtype(at::kLong));
  for (size_t i = 0; i < windows_.size(); ++i) {
    const Window& w = windows_[i];
    const Halo* h = halo_of(static_cast<int64_t>(i) + 1);
    const Rows rows = h != nullptr ? h->results : Rows{0, w.out};
    const at::Tensor begin = at::arange(rows.begin, rows.end, cells.options()) * w.stride - w.padding;
    const at::Tensor end = (begin + w.kernel).clamp_max(include_padding ? w.in + w.padding : w.in);
    const at::Tensor count = end - (include_padding ? begin : begin.clamp_min(0));
    Sizes sizes(i + 1, 1);
    sizes[0] = count.numel();
    cells = cells * count.view(sizes);
  }
  if (!at::isFloatingType(averages.scalar_type())) return at::div(averages, cells, "trunc").to(averages.scalar_type());
  const double whole = static_cast<double>(divisor(averages.scalar_type()));
  return averages * (whole / cells.to(at::kDouble)).to(averages.scalar_type());
}

at::Tensor WindowedCall::Run::global_positions(const at::Tensor& indices) const {
  return move_positions(indices, local_, global_, [&](const at::Tensor& here, int64_t from_end) {
    const Halo* h = halo_of(from_end);
    if (h == nullptr) return here;
    // Where all is lowest the first element is meant, which is none of the padding.
    const at::Tensor there = here + h->reads.begin, before = there.neg().clamp_min(0);
    const int64_t step = h->window.dilation;
    return there + (before + (step - 1)).floor_divide(step) * step;
  });
}

at::Tensor WindowedCall::Run::local_positions(const at::Tensor& indices) const {
  return move_positions(indices, global_, local_, [&](const at::Tensor& here, int64_t from_end) {
    const Halo* h = halo_of(from_end);
    return h == nullptr ? here : here - h->reads.begin;
  });
}

}  // namespace weft
