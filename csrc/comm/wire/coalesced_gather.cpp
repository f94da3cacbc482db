#include "comm/wire/coalesced_gather.h"

#include <ATen/ATen.h>
#include <ATen/ops/as_strided_native.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "comm/lockstep/event.h"
#include "comm/lockstep/failure.h"
#include "comm/wire/axis.h"
#include "comm/wire/buffer.h"
#include "comm/wire/pack.h"
#include "comm/wire/plan_copy.h"

namespace weft::comm {
namespace {

constexpr int64_t kAlignment = 16;  // of tensors of different dtypes in one buffer

// One tensor's place among the bytes that each rank sends.
struct Piece {
  c10::ScalarType dtype;
  Sizes sizes;  // of a shard
  int64_t dim;
  std::vector<int64_t> lengths;  // of all ranks' along it
  int64_t width;                 // bytes of an element
  int64_t row;                   // elements for each index of `dim`
  int64_t offset;                // in bytes
};

at::Tensor seen_as(const at::Tensor& bytes, c10::ScalarType dtype) {
  return bytes.scalar_type() == dtype ? bytes : bytes.view(dtype);
}

// `flat` from that element on, as a row-major tensor; by core's kernel alone, without dispatch.
at::Tensor part_of(const at::Tensor& flat, int64_t offset, c10::IntArrayRef sizes) {
  return at::native::as_strided_tensorimpl(flat, sizes, row_major_strides(sizes), flat.storage_offset() + offset);
}

class Gathered final : public PendingGathers {
 public:
  Gathered(std::vector<Piece> pieces, at::Tensor arriving, int64_t bytes, const Axis& line,
           c10::intrusive_ptr<c10d::Work> work, c10d::Backend* watched)
      : pieces_(std::move(pieces)),
        arriving_(std::move(arriving)),
        work_(std::move(work)),
        watched_(watched),
        pending_(Span::pending()) {
    for (int64_t c = 0; c < line.size; ++c) starts_.push_back(line.group_rank(c) * bytes);
  }

  void wait() override {
    if (!work_) return;
    const WithoutPythonLock unlocked;
    const OneThread alone;
    const WaitSpan span(pending_);
    wait_for(*std::exchange(work_, {}), watched_);
  }

  at::Tensor take(size_t i) override {
    wait();
    const Piece& p = pieces_[i];
    const at::Tensor flat = seen_as(arriving_, p.dtype);
    Sizes sizes = p.sizes;
    sizes[p.dim] = std::accumulate(p.lengths.begin(), p.lengths.end(), int64_t{0});
    const bool leading = product(c10::IntArrayRef(sizes).slice(0, p.dim)) == 1;
    if (leading && in_order(p)) return part_of(flat, (starts_[0] + p.offset) / p.width, sizes);
    at::Tensor full = take_buffer(product(sizes), flat.options());
    full = part_of(full, 0, sizes);
    std::vector<at::Tensor> parts;
    for (size_t c = 0; c < starts_.size(); ++c) {
      Sizes part = p.sizes;
      part[p.dim] = p.lengths[c];
      parts.push_back(part_of(flat, (starts_[c] + p.offset) / p.width, part));
    }
    return at::cat_out(full, parts, p.dim);
  }

 private:
  // Whether the ranks' parts lie one after the other.
  bool in_order(const Piece& p) const {
    int64_t next = starts_[0];
    for (size_t c = 0; c < starts_.size(); ++c) {
      if (p.lengths[c] > 0 && starts_[c] != next) return false;
      next += p.lengths[c] * p.row * p.width;
    }
    return true;
  }

  const std::vector<Piece> pieces_;
  const at::Tensor arriving_;
  std::vector<int64_t> starts_;  // of each coordinate's
  c10::intrusive_ptr<c10d::Work> work_;
  c10d::Backend* const watched_;  // see failure.h
  const Span::Pending pending_;
};

struct Here final : PendingGathers {
  explicit Here(const std::vector<Divided>& tensors) : tensors(tensors) {}
  at::Tensor take(size_t i) override { return plain_contiguous(tensors[i].input); }
  void wait() override {}
  const std::vector<Divided> tensors;
};

}  // namespace

std::unique_ptr<PendingGathers> all_gather_coalesced(const std::vector<Divided>& tensors, Mesh mesh, int axis) {
  TORCH_INTERNAL_ASSERT(!tensors.empty(), "nothing to gather");
  const int64_t n = mesh->axis_size(axis);
  if (n == 1) return std::make_unique<Here>(tensors);
  const c10::ScalarType first = tensors[0].input.scalar_type();
  const bool one_dtype =
      std::all_of(tensors.begin(), tensors.end(), [&](const Divided& t) { return t.input.scalar_type() == first; });
  std::vector<Piece> pieces;
  int64_t bytes = 0, full_bytes = 0;
  for (const Divided& t : tensors) {
    Piece p{t.input.scalar_type(),
            Sizes(t.input.sizes().begin(), t.input.sizes().end()),
            t.dim,
            t.sizes,
            static_cast<int64_t>(t.input.element_size()),
            row_elements(t.input.sizes(), t.dim),
            bytes};
    // Every part takes the room of the longest one: backends gather equal lengths only.
    bytes += *std::max_element(t.sizes.begin(), t.sizes.end()) * p.row * p.width;
    if (!one_dtype) bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    full_bytes += std::accumulate(t.sizes.begin(), t.sizes.end(), int64_t{0}) * p.row * p.width;
    pieces.push_back(std::move(p));
  }
  const c10::ScalarType dtype = one_dtype ? first : at::kByte;
  const int64_t width = one_dtype ? pieces[0].width : 1;
  const Event event{"all_gather", mesh, axis, (n - 1) * full_bytes / n, full_bytes / width, dtype};
  return collective(event, [&]() -> std::unique_ptr<PendingGathers> {
    const Axis line(mesh, axis);
    const auto options = tensors[0].input.options().dtype(dtype);
    at::Tensor arriving = take_buffer(n * bytes / width, options);
    at::Tensor sent;
    if (tensors.size() == 1) {
      sent = pack(tensors[0].input, tensors[0].dim, {tensors[0].input.size(tensors[0].dim)}, {}, bytes / width);
    } else {
      const int64_t length = bytes / width;
      sent = swaps(line, options.device().type())
                 ? arriving.narrow(0, line.group_rank(line.coordinate) * length, length)
                 : take_buffer(length, options);
      for (size_t i = 0; i < tensors.size(); ++i) {
        const Piece& p = pieces[i];
        if (tensors[i].input.numel() == 0) continue;
        copy_strided(part_of(seen_as(sent, p.dtype), p.offset / p.width, p.sizes), tensors[i].input);
      }
    }
    c10d::Backend* const watched = watched_backend(line, options.device().type());
    auto work = bytes > 0 ? begin_gather_flat(line, arriving, sent) : c10::intrusive_ptr<c10d::Work>();
    return std::make_unique<Gathered>(std::move(pieces), std::move(arriving), bytes, line, std::move(work), watched);
  });
}

}  // namespace weft::comm
