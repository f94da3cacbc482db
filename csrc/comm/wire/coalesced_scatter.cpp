// One reduce-scatter for several tensors, not waited for.
#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>

#include "comm/lockstep/event.h"
#include "comm/lockstep/failure.h"
#include "comm/wire/axis.h"
#include "comm/wire/buffer.h"
#include "comm/wire/collectives.h"
#include "comm/wire/pack.h"
#include "comm/wire/plan_copy.h"
#include "comm/wire/reduction.h"

namespace weft::comm {
namespace {

// Of two ranks: the other one's part for this one, which is reduced with its own.
class Swapped : public PendingParts {
 public:
  Swapped(const Axis& line, const at::Tensor& sent, const std::vector<int64_t>& totals, Reduction reduction)
      : own_(part_of(line, sent, totals, line.coordinate)),
        arriving_(take_buffer(own_.numel(), sent.options())),
        is_first_(line.coordinate == 0),
        reduction_(reduction),
        work_(begin_swap_flat(line, arriving_, part_of(line, sent, totals, 1 - line.coordinate))),
        watched_(watched_backend(line, sent.device().type())),
        pending_(Span::pending()) {}

  at::Tensor wait() override {
    const WithoutPythonLock unlocked;
    const OneThread alone;
    const WaitSpan span(pending_);
    if (work_) wait_for(*work_, watched_);
    const at::Tensor own = std::move(own_), other = std::move(arriving_);
    return reduce_two(own, other, is_first_, reduction_, other);
  }

 private:
  static at::Tensor part_of(const Axis& line, const at::Tensor& sent, const std::vector<int64_t>& totals, int64_t c) {
    return sent.narrow(0, line.group_rank(c) == 0 ? 0 : totals[1 - c], totals[c]);
  }

  at::Tensor own_, arriving_;
  bool is_first_;
  Reduction reduction_;
  c10::intrusive_ptr<c10d::Work> work_;
  c10d::Backend* watched_;
  Span::Pending pending_;
};

// What arrives: every rank's parts for this one, to be reduced here; or, reduced by the backend, the sums and padding.
class Scattered : public PendingParts {
 public:
  Scattered(at::Tensor sent, at::Tensor arriving, bool exchanged, int64_t elements, c10::ScalarType dtype,
            Reduction reduction, const Line& line, c10::intrusive_ptr<c10d::Work> work, c10d::Backend* watched)
      : sent_(std::move(sent)),
        arriving_(std::move(arriving)),
        exchanged_(exchanged),
        elements_(elements),
        dtype_(dtype),
        reduction_(reduction),
        line_(line),
        work_(std::move(work)),
        watched_(watched),
        pending_(Span::pending()) {}

  at::Tensor wait() override {
    const WithoutPythonLock unlocked;
    const OneThread alone;
    const WaitSpan span(pending_);
    if (work_) wait_for(*work_, watched_);
    sent_.reset();
    const at::Tensor arrived = std::move(arriving_);
    if (exchanged_) return reduce_locally(by_coordinate(line_, arrived.view({line_.size, elements_})), reduction_);
    return lift(arrived, dtype_, reduction_, line_.size).narrow(0, 0, elements_);
  }

 private:
  at::Tensor sent_, arriving_;
  bool exchanged_;
  int64_t elements_;  // of this rank's parts
  c10::ScalarType dtype_;
  Reduction reduction_;
  const Line line_;
  c10::intrusive_ptr<c10d::Work> work_;
  c10d::Backend* watched_;  // see failure.h
  Span::Pending pending_;
};

struct Ready : PendingParts {
  explicit Ready(at::Tensor parts) : parts(std::move(parts)) {}
  at::Tensor wait() override { return std::move(parts); }
  at::Tensor parts;
};

int64_t elements_for(const Divided& t, int64_t coordinate) {
  return t.sizes[coordinate] * row_elements(t.input.sizes(), t.dim);
}

bool is_even(const Divided& t) {
  return std::all_of(t.sizes.begin(), t.sizes.end(), [&](int64_t size) { return size == t.sizes[0]; });
}

// Packs, for each rank of the group in turn, its parts of all tensors; totals[c] elements for coordinate c, `room` of
// the buffer at least.
at::Tensor pack_parts(const Axis& line, const std::vector<Divided>& tensors, const std::vector<int64_t>& totals,
                      int64_t room) {
  int64_t length = 0;
  for (int64_t total : totals) length += std::max(total, room);
  at::Tensor flat = take_buffer(length, tensors[0].input.options());
  if (line.ordered() && std::all_of(tensors.begin(), tensors.end(), is_even)) {
    // One copy for each tensor: [outer, n * length, inner] -> [n, outer, length, inner].
    const at::Tensor rows = flat.view({line.size, length / line.size});
    int64_t offset = 0;
    for (const Divided& t : tensors) {
      const int64_t elements = elements_for(t, 0);
      const at::Tensor source = t.input.unflatten(t.dim, {line.size, t.sizes[0]}).movedim(t.dim, 0);
      copy_strided(rows.narrow(1, offset, elements).unflatten(1, source.sizes().slice(1)), source);
      offset += elements;
    }
    return flat;
  }
  std::vector<int64_t> starts(tensors.size());
  std::vector<int64_t> offsets(line.size);
  for (int64_t c = 0, offset = 0; c < line.size; ++c) {
    const int64_t owner = line.ordered() ? c : line.by_group_rank()[c];
    offsets[owner] = offset;
    offset += std::max(totals[owner], room);
  }
  for (int64_t c = 0; c < line.size; ++c) {
    int64_t offset = offsets[c];
    for (size_t i = 0; i < tensors.size(); ++i) {
      const Divided& t = tensors[i];
      const at::Tensor source = t.input.narrow(t.dim, starts[i], t.sizes[c]);
      if (source.numel() > 0) copy_strided(flat.narrow(0, offset, source.numel()).view(source.sizes()), source);
      starts[i] += t.sizes[c];
      offset += source.numel();
    }
  }
  return flat;
}

}  // namespace

std::unique_ptr<PendingParts> reduce_scatter_coalesced(const std::vector<Divided>& tensors, Reduction reduction,
                                                       Mesh mesh, int axis) {
  TORCH_INTERNAL_ASSERT(!tensors.empty(), "nothing to scatter");
  const c10::ScalarType dtype = tensors[0].input.scalar_type();
  const int64_t n = mesh->axis_size(axis);
  if (n == 1) {
    std::vector<at::Tensor> full;
    for (const Divided& t : tensors) full.push_back(plain_contiguous(t.input).view({-1}));
    return std::make_unique<Ready>(at::cat(full));
  }
  const Axis line(mesh, axis);
  std::vector<int64_t> totals(n);
  for (const Divided& t : tensors) {
    TORCH_INTERNAL_ASSERT(t.input.scalar_type() == dtype, "tensors scattered together are of one dtype");
    TORCH_INTERNAL_ASSERT(static_cast<int64_t>(t.sizes.size()) == n &&
                              std::accumulate(t.sizes.begin(), t.sizes.end(), int64_t{0}) == t.input.size(t.dim),
                          "lengths ", t.sizes, " for dimension ", t.dim, " of a shard of shape ", t.input.sizes());
    for (int64_t c = 0; c < n; ++c) totals[c] += elements_for(t, c);
  }
  const int64_t mine = totals[line.coordinate];
  const int64_t elements = std::accumulate(totals.begin(), totals.end(), int64_t{0});
  check_reduction(dtype, reduction);
  const int64_t bytes = elements * static_cast<int64_t>(tensors[0].input.element_size());
  const Event event{"reduce_scatter", mesh, axis, (n - 1) * bytes / n, elements, dtype, reduction};
  return collective(event, [&]() -> std::unique_ptr<PendingParts> {
    if (elements == 0) return std::make_unique<Ready>(pack_parts(line, tensors, totals, 0));
    // As in reduce_scatter.
    const c10::DeviceType device = tensors[0].input.device().type();
    c10d::Backend* const watched = watched_backend(line, device);
    if (uses_gloo(line, device) || !has_lowering(dtype, reduction) || !line.rising) {
      at::Tensor sent = pack_parts(line, tensors, totals, 0);
      if (swaps(line, sent.device().type())) return std::make_unique<Swapped>(line, sent, totals, reduction);
      at::Tensor arriving = take_buffer(n * mine, sent.options());
      std::vector<int64_t> input_splits(n);
      for (int64_t c = 0; c < n; ++c) input_splits[line.group_rank(c)] = totals[c];
      auto work = begin_exchange_flat(line, arriving, sent, std::vector<int64_t>(n, mine), std::move(input_splits));
      return std::make_unique<Scattered>(std::move(sent), std::move(arriving), true, mine, dtype, reduction, line,
                                         std::move(work), watched);
    }
    const int64_t room = *std::max_element(totals.begin(), totals.end());
    at::Tensor sent = lower(pack_parts(line, tensors, totals, room), reduction);
    Sizes shape(sent.sizes().begin(), sent.sizes().end());
    shape[0] /= n;
    at::Tensor arriving = at::empty(shape, sent.options());
    auto work = begin_reduce_scatter_flat(line, arriving, sent, reduce_op(dtype, reduction));
    return std::make_unique<Scattered>(std::move(sent), std::move(arriving), false, mine, dtype, reduction, line,
                                       std::move(work), watched);
  });
}

}  // namespace weft::comm
