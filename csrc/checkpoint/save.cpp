#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "base/hash.h"
#include "base/quote.h"
#include "base/random_state.h"
#include "checkpoint/background.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/collective_buffer.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/snapshot.h"
#include "checkpoint/writer.h"
#include "comm/agree/agree_or_throw.h"
#include "comm/agree/check_same.h"
#include "comm/lockstep/settle.h"
#include "mesh/context.h"
#include "redistribute/redistribute.h"
#include "tensor/below_autograd.h"
#include "tensor/sharded.h"
#include "tensor/strided.h"

namespace weft::checkpoint {
namespace {

constexpr const char* kSaving =
    "save: what is saved (names, shapes, dtypes, layouts, values of plain tensors) and where";
constexpr int64_t kSampled = 4096;  // words of a plain tensor's value, which must be the same on all ranks
// Bytes of a run: below, a tensor is written sooner where its rows are put together first, as each write costs the file
// system its own; in the background that costs nobody but for very many.
constexpr int64_t kShortRun = 64 << 10, kShortRunBehind = 4 << 10;
constexpr int64_t kManyRuns = 16;

// What the next save takes again.
struct Kept : ContextState {
  SnapshotMemory snapshot;
  std::optional<std::unique_ptr<CollectiveBuffer>> buffer;  // none: not tried yet
};

CollectiveBuffer* collective_buffer(const Exchange& exchange) {
  auto& buffer = context().state<Kept>().buffer;
  if (!buffer) buffer = CollectiveBuffer::make(exchange);
  return buffer->get();
}

struct Source {
  size_t group, tensor;
  at::Tensor value;
};

bool valid_utf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(std::string_view(text).substr(i));
    if (length == 0) return false;
    i += length;
  }
  return true;
}

void check(const Item& item) {
  TORCH_CHECK_VALUE(item.tensor.defined(), "[W117] save: no tensor under the name ", quote(item.name));
  check_strided("save", item.tensor);
  TORCH_CHECK_VALUE(valid_utf8(item.name) && item.name.find('\0') == std::string::npos && item.name != "__metadata__",
                    "[W117] save: ", quote(item.name), " cannot be a name in a safetensors file");
  TORCH_CHECK_VALUE(safetensors_type(item.tensor.scalar_type()) != nullptr, "[W117] save: ", quote(item.name),
                    " is of type ", item.tensor.scalar_type(),
                    ", which safetensors files have not; save it as another type");
  const at::Tensor local = holds_shards(item.tensor) ? sharded(item.tensor).local() : item.tensor;
  TORCH_CHECK_VALUE(!local.is_meta(), "[W117] save: ", quote(item.name), " is on the meta device and has no value");
}

// What two names of one tensor have in common.
std::tuple<const void*, std::vector<int64_t>, std::vector<int64_t>, c10::ScalarType> place_of(const at::Tensor& t) {
  const void* memory = t.unsafeGetTensorImpl();
  if (holds_shards(t)) {
    if (!sharded(t).chain()) memory = &sharded(t).cell();
  } else if (t.numel() > 0) {
    memory = t.const_data_ptr();
  }
  return {memory, t.sizes().vec(), t.strides().vec(), t.scalar_type()};
}

void sort_out(const std::vector<Item>& items, Contents& contents, std::vector<Source>& sources) {
  std::map<decltype(place_of(at::Tensor())), std::pair<std::string, std::string>> known;
  std::set<std::pair<std::string, std::string>> names;
  for (const Item& item : items) {
    check(item);
    TORCH_CHECK_VALUE(names.emplace(item.group, item.name).second, "[W117] save: the name ", quote(item.name),
                      " is given twice");
    auto group = std::find_if(contents.groups.begin(), contents.groups.end(),
                              [&](const StoredGroup& g) { return g.name == item.group; });
    if (group == contents.groups.end()) group = contents.groups.insert(group, {.name = item.group});
    const auto [place, is_new] = known.try_emplace(place_of(item.tensor), item.group, item.name);
    if (!is_new && place->second.first == item.group) {
      group->aliases.emplace_back(item.name, place->second.second);
      continue;
    }
    sources.push_back({static_cast<size_t>(group - contents.groups.begin()), group->tensors.size(), item.tensor});
    StoredTensor tensor{.name = item.name, .dtype = item.tensor.scalar_type(), .shape = item.tensor.sizes().vec()};
    if (holds_shards(item.tensor)) tensor.layout = sharded(item.tensor).layout()->describe();
    group->tensors.push_back(std::move(tensor));
  }
}

std::vector<int64_t> facts(const std::string& folder, const Contents& contents, const std::vector<Source>& sources) {
  std::vector<int64_t> words;
  const auto add = [&](const std::string& text) { words.push_back(static_cast<int64_t>(hash_text(text))); };
  add(folder);
  add(contents.values);
  words.push_back(contents.step.value_or(-1));
  for (const StoredGroup& group : contents.groups) {
    add(group.name);
    for (const StoredTensor& tensor : group.tensors) {
      add(tensor.name);
      add(tensor.layout);
      words.push_back(static_cast<int64_t>(tensor.dtype));
      words.insert(words.end(), tensor.shape.begin(), tensor.shape.end());
    }
    for (const auto& [alias, target] : group.aliases) add(alias + '\0' + target);
  }
  for (const Source& source : sources) {
    if (!holds_shards(source.value)) words.push_back(static_cast<int64_t>(sample(source.value.detach(), kSampled)));
  }
  return words;
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

// The whole tensor, put together in memory that the ranks share, each of which passes on its share of every round.
void each_by_buffer(CollectiveBuffer& buffer, const Piece& own, const at::Tensor& local, c10::IntArrayRef sizes,
                    const Replica& replica, c10::function_ref<void(const Piece&)> each) {
  const at::Tensor part = local.resolve_conj().resolve_neg().cpu().contiguous();
  const auto* bytes = static_cast<const char*>(part.const_data_ptr());
  const auto element = static_cast<int64_t>(part.element_size());
  const int64_t per_round = static_cast<int64_t>(CollectiveBuffer::kBytes) / element;
  const Box whole(sizes);
  const int64_t ranks = context().world_size(), rank = context().rank();
  int64_t turn = 0;
  for (int64_t begin = 0; begin < whole.numel(); begin += per_round, ++turn) {
    const int64_t count = std::min(per_round, whole.numel() - begin);
    const auto put = [&](char* memory) {
      if (turn % replica.count != replica.index) return;
      const int64_t first = own.box.before(begin);
      own.box.runs(first, own.box.before(begin + count) - first, [&](const Box::Run& run) {
        std::memcpy(memory + (run.whole - begin) * element, bytes + run.part * element,
                    static_cast<size_t>(run.length * element));
      });
    };
    const auto take = [&](const char* memory) {
      const Share share{begin + chunk_start(count, ranks, rank), chunk_length(count, ranks, rank)};
      if (share.count == 0) return;
      auto* const start = const_cast<char*>(memory) + (share.first - begin) * element;
      each({own.group, own.tensor, whole, share, at::from_blob(start, share.count, part.options()), share.first});
    };
    buffer.round(put, take);
  }
}

// This rank's share of a tensor, in pieces; a collective where its parts have to be put together.
// @param exchange  null: not by a collective buffer
void each_piece(const Source& source, int64_t turn, int64_t short_run, const Exchange* exchange,
                c10::function_ref<void(const Piece&)> each) {
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

std::string new_generation() {
  std::random_device random;
  const auto number = uint64_t{random()} << 32 | random();
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
  return text;
}

}  // namespace

PendingSave save(const std::string& folder, const std::vector<Item>& items, const std::string& values,
                 std::optional<int64_t> step, bool wait) {
  finish_save();
  Contents contents;
  std::vector<Source> sources;
  contents.step = step;
  contents.values = values;
  contents.processes = context().world_size();
  comm::agree_or_throw(kSaving, nullptr, [&] { sort_out(items, contents, sources); });
  comm::check_same(facts(folder, contents, sources), kSaving, nullptr);
  // Rank 0's, whatever the others have.
  StoredGroup random{.name = kRandomGroup};
  for (const auto& [device, state] : random_state()) {
    sources.push_back({contents.groups.size(), random.tensors.size(), state});
    random.tensors.push_back({.name = device, .dtype = state.scalar_type(), .shape = state.sizes().vec()});
  }
  contents.groups.push_back(std::move(random));
  const int64_t rank = context().rank();
  const Exchange here = exchange_by_collectives();
  Exchange there;
  contents.generation = together(here, [&] {
    if (!wait) there = exchange_by_store();
    if (rank != 0) return std::string();
    make_folder(folder);
    return new_generation();
  })[0];
  if (wait) {
    write(
        folder, contents,
        [&](c10::function_ref<void(const Piece&)> each) {
          for (size_t i = 0; i < sources.size(); ++i) {
            each_piece(sources[i], static_cast<int64_t>(i), kShortRun, &here, each);
          }
        },
        rank, here);
    return ended_save();
  }
  auto pieces = std::make_shared<std::vector<Piece>>();
  SnapshotMemory& memory = context().state<Kept>().snapshot;
  memory.restart();
  for (size_t i = 0; i < sources.size(); ++i) {
    each_piece(sources[i], static_cast<int64_t>(i), kShortRunBehind, nullptr, [&](const Piece& piece) {
      if (piece.share.count == 0) return;
      pieces->push_back(piece);
      pieces->back().elements = memory.copy(piece.elements);
    });
  }
  comm::settle();
  return start_save([=] {
    write(
        folder, contents,
        [&](c10::function_ref<void(const Piece&)> each) {
          for (Piece& piece : *pieces) {
            each(piece);
            piece.elements.reset();
          }
        },
        rank, there);
  });
}

NamedTensors variables_of(const torch::nn::Module& module) {
  NamedTensors tensors;
  for (const auto& p : module.named_parameters()) tensors.emplace_back(p.key(), p.value());
  for (const auto& b : module.named_buffers()) tensors.emplace_back(b.key(), b.value());
  return tensors;
}

}  // namespace weft::checkpoint

namespace weft {
namespace {

std::vector<checkpoint::Item> as_items(const NamedTensors& tensors) {
  std::vector<checkpoint::Item> items;
  for (const auto& [name, tensor] : tensors) items.push_back({"model", name, tensor});
  return items;
}

}  // namespace

void save(const std::string& folder, const NamedTensors& tensors, std::optional<int64_t> step) {
  checkpoint::save(folder, as_items(tensors), "{}", step, /*wait=*/true);
}

void save(const std::string& folder, const torch::nn::Module& module, std::optional<int64_t> step) {
  save(folder, checkpoint::variables_of(module), step);
}

PendingSave async_save(const std::string& folder, const NamedTensors& tensors, std::optional<int64_t> step) {
  return checkpoint::save(folder, as_items(tensors), "{}", step, /*wait=*/false);
}

PendingSave async_save(const std::string& folder, const torch::nn::Module& module, std::optional<int64_t> step) {
  return async_save(folder, checkpoint::variables_of(module), step);
}

}  // namespace weft
