#include "checkpoint/pieces.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "checkpoint/collective_buffer.h"
#include "mesh/context.h"
#include "redistribute/redistribute.h"
#include "tensor/below_autograd.h"
#include "tensor/sharded.h"

namespace weft::checkpoint {
namespace {

// Bytes of a run: below, a tensor is written sooner where its rows are put together first, as each write costs the file
// system its own.
constexpr int64_t kShortRun = 64 << 10, kShortRunBehind = 4 << 10;
constexpr int64_t kManyRuns = 16;

struct KeptBuffer : ContextState {
  std::optional<std::unique_ptr<CollectiveBuffer>> buffer;  // none: not tried yet
};

CollectiveBuffer* collective_buffer(const Exchange& exchange) {
  auto& buffer = context().state<KeptBuffer>().buffer;
  if (!buffer) buffer = CollectiveBuffer::make(exchange);
  return buffer->get();
}

// The part of the rank that holds most.
Box largest_box(c10::IntArrayRef sizes, Layout layout) {
  return {sizes, layout, std::vector<int64_t>(static_cast<size_t>(layout->mesh()->ndim()), 0)};
}

// Whether each rank holds but short runs of the file.
bool has_short_runs(const Box& largest, int64_t element, int64_t short_run) {
  const int64_t run = largest.longest_run();
  return run > 0 && run * element < short_run && largest.numel() / run >= kManyRuns;
}

// Split by rows, if that makes longer runs.
Layout by_rows(c10::IntArrayRef sizes, Layout layout, const Box& largest) {
  std::vector<Split> axes;
  int64_t parts = 1;
  for (int axis = 0; axis < layout->mesh()->ndim(); ++axis) {
    if (layout->state(axis).kind != AxisState::split) continue;
    axes.push_back({axis});
    parts *= layout->mesh()->axis_size(axis);
  }
  TensorLayout::Dims dims(sizes.size());
  const auto rows = std::find_if(sizes.begin(), sizes.end(), [&](int64_t size) { return size >= parts; });
  if (rows == sizes.end()) return layout;
  dims[static_cast<size_t>(rows - sizes.begin())] = axes;
  const Layout rows_layout = TensorLayout::get(layout->mesh(), dims);
  return largest_box(sizes, rows_layout).longest_run() > largest.longest_run() ? rows_layout : layout;
}

// The full tensor, put together in memory that the ranks share, each of which passes on its share of every round.
void each_by_buffer(CollectiveBuffer& buffer, const Piece& own, const at::Tensor& local, c10::IntArrayRef sizes,
                    const Replica& replica, EachPiece each) {
  const at::Tensor part = local.resolve_conj().resolve_neg().cpu().contiguous();
  const auto* bytes = static_cast<const char*>(part.const_data_ptr());
  const auto element = static_cast<int64_t>(part.element_size());
  const int64_t per_round = static_cast<int64_t>(CollectiveBuffer::kBytes) / element;
  const Box full(sizes);
  const int64_t ranks = context().world_size(), rank = context().rank();
  int64_t turn = 0;
  for (int64_t begin = 0; begin < full.numel(); begin += per_round, ++turn) {
    const int64_t count = std::min(per_round, full.numel() - begin);
    const auto put = [&](char* memory) {
      if (turn % replica.count != replica.index) return;
      const int64_t first = own.box.before(begin);
      own.box.runs(first, own.box.before(begin + count) - first, [&](const Box::Run& run) {
        std::memcpy(memory + (run.full - begin) * element, bytes + run.part * element,
                    static_cast<size_t>(run.length * element));
      });
    };
    const auto take = [&](const char* memory) {
      const Share share{begin + chunk_start(count, ranks, rank), chunk_length(count, ranks, rank)};
      if (share.count == 0) return;
      auto* const start = const_cast<char*>(memory) + (share.first - begin) * element;
      each({own.group, own.tensor, full, share, at::from_blob(start, share.count, part.options()), share.first});
    };
    buffer.round(put, take);
  }
}

// This rank's share of a tensor, in pieces; a collective where its parts have to be put together.
// @param exchange  null: not by a collective buffer
void each_piece(const Source& source, int64_t turn, int64_t short_run, const Exchange* exchange, EachPiece each) {
  const at::Tensor value = source.value.detach();
  const auto element = static_cast<int64_t>(value.element_size());
  if (!holds_shards(value)) {
    const Share all{0, context().rank() == 0 ? value.numel() : 0};
    return each(piece_of(source.group, source.tensor, value, Box(value.sizes()), all));
  }
  const BelowAutograd guard;
  const ShardedTensorImpl& impl = sharded(value);
  const RunningOp running("save", impl.identity(), impl.interned_path(), /*keeps_value=*/true);
  Layout layout = impl.layout()->without_partial();
  const Box largest = largest_box(value.sizes(), layout);
  const bool is_short = has_short_runs(largest, element, short_run);
  CollectiveBuffer* const buffer = is_short && exchange != nullptr ? collective_buffer(*exchange) : nullptr;
  if (is_short && buffer == nullptr) layout = by_rows(value.sizes(), layout, largest);
  const at::Tensor local = redistribute_local(impl.local(), value.sizes(), impl.layout(), layout, value.strides());
  const auto& coordinates = context().bind(layout->mesh()).coordinates;
  const Box box(value.sizes(), layout, coordinates);
  const Replica replica = replica_of(layout, coordinates);
  if (buffer != nullptr) {
    const Piece own{source.group, source.tensor, box, {}, {}, 0};
    return each_by_buffer(*buffer, own, local, value.sizes(), replica, each);
  }
  const Share share = share_of(box.numel(), element, replica.index, replica.count, turn);
  each(piece_of(source.group, source.tensor, local, box, share));
}

}  // namespace

void each_piece_now(const std::vector<Source>& sources, const Exchange& exchange, EachPiece each) {
  for (size_t i = 0; i < sources.size(); ++i) {
    each_piece(sources[i], static_cast<int64_t>(i), kShortRun, &exchange, each);
  }
}

void each_piece_to_copy(const std::vector<Source>& sources, EachPiece each) {
  for (size_t i = 0; i < sources.size(); ++i) {
    each_piece(sources[i], static_cast<int64_t>(i), kShortRunBehind, nullptr, each);
  }
}

}  // namespace weft::checkpoint
