#include <c10/util/Exception.h>
#include <torch/nn/module.h>

#include <cstdio>
#include <memory>
#include <random>
#include <unistd.h>
#include <utility>

#include "base/quote.h"
#include "checkpoint/background.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/file.h"
#include "checkpoint/optimizer.h"
#include "checkpoint/pieces.h"
#include "checkpoint/snapshot.h"
#include "checkpoint/sources.h"
#include "checkpoint/writer.h"
#include "comm/agree/agree_or_throw.h"
#include "comm/lockstep/call.h"
#include "comm/lockstep/settle.h"
#include "mesh/context.h"

namespace weft::checkpoint {
namespace {

// Taken again by the next save, if a handle of those before is still there.
struct Kept : ContextState {
  std::weak_ptr<SnapshotMemory> snapshot;
};

std::shared_ptr<SnapshotMemory> snapshot_memory() {
  auto& kept = context().state<Kept>().snapshot;
  auto memory = kept.lock();
  if (!memory) kept = memory = std::make_shared<SnapshotMemory>();
  return memory;
}

// Not zero.
int64_t random_number() {
  std::random_device random;
  return static_cast<int64_t>((uint64_t{random()} << 32 | random()) | 1);
}

std::string generation_text(int64_t number) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
  return text;
}

}  // namespace

PendingSave save(const std::string& path, const std::vector<Item>& items, const std::string& values,
                 std::optional<int64_t> step, bool wait) {
  const std::string folder = absolute(path);
  finish_save();
  const std::string doing = (wait ? "save to " : "async_save to ") + quote(folder);
  const std::string compared = doing + ": what is saved, and how that goes";
  const comm::Comparing comparing(compared);
  Contents contents;
  contents.step = step;
  contents.values = values;
  contents.processes = context().world_size();
  auto sources = comm::agree_or_throw(kSaving, nullptr, [&] { return sort_out(items, contents); });
  const int64_t rank = context().rank();
  const Exchange here = exchange_by_collectives();
  bool made = false;
  try {
    const auto generation = together_same(facts(folder, contents, sources), kSaving, [&] {
      if (!wait) connect_to_store(doing);
      made = rank == 0 && make_folder(folder);
      return random_number();
    })[0];
    contents.generation = generation_text(generation);
  } catch (...) {
    if (made) ::rmdir(folder.c_str());  // the ranks were not of one mind
    throw;
  }
  add_random_state(contents, sources);
  if (wait) {
    write(folder, contents, [&](EachPiece each) { each_piece_now(sources, here, each); }, rank, here);
    return ended_save();
  }
  const Exchange there = exchange_by_store(contents.generation, doing);
  auto pieces = std::make_shared<std::vector<Piece>>();
  const auto memory = snapshot_memory();
  memory->restart();
  each_piece_to_copy(sources, [&](const Piece& piece) {
    if (piece.share.count == 0) return;
    pieces->push_back(piece);
    pieces->back().elements = memory->copy(piece.elements);
  });
  memory->release_rest();
  comm::settle();
  const auto write_pieces = [=] {
    const auto pass_on = [&](EachPiece each) {
      for (Piece& piece : *pieces) {
        each(piece);
        piece.elements.reset();
      }
    };
    write(folder, contents, pass_on, rank, there);
  };
  return start_save(write_pieces, memory);
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

PendingSave start(const std::string& folder, const NamedTensors& tensors, const torch::optim::Optimizer* optimizer,
                  std::optional<int64_t> step, bool wait) {
  std::vector<checkpoint::Item> items;
  for (const auto& [name, tensor] : tensors) items.push_back({"model", name, tensor});
  std::string values = "{}";
  if (optimizer != nullptr) {
    values = comm::agree_or_throw(checkpoint::kSaving, nullptr,
                                  [&] { return checkpoint::values_with(*optimizer, tensors, items); });
  }
  return checkpoint::save(folder, items, values, step, wait);
}

}  // namespace

void save(const std::string& folder, const NamedTensors& tensors, std::optional<int64_t> step) {
  start(folder, tensors, nullptr, step, /*wait=*/true);
}

void save(const std::string& folder, const torch::nn::Module& module, std::optional<int64_t> step) {
  save(folder, checkpoint::variables_of(module), step);
}

void save(const std::string& folder, const NamedTensors& tensors, const torch::optim::Optimizer& optimizer,
          std::optional<int64_t> step) {
  start(folder, tensors, &optimizer, step, /*wait=*/true);
}

void save(const std::string& folder, const torch::nn::Module& module, const torch::optim::Optimizer& optimizer,
          std::optional<int64_t> step) {
  save(folder, checkpoint::variables_of(module), optimizer, step);
}

PendingSave async_save(const std::string& folder, const NamedTensors& tensors, std::optional<int64_t> step) {
  return start(folder, tensors, nullptr, step, /*wait=*/false);
}

PendingSave async_save(const std::string& folder, const torch::nn::Module& module, std::optional<int64_t> step) {
  return async_save(folder, checkpoint::variables_of(module), step);
}

PendingSave async_save(const std::string& folder, const NamedTensors& tensors, const torch::optim::Optimizer& optimizer,
                       std::optional<int64_t> step) {
  return start(folder, tensors, &optimizer, step, /*wait=*/false);
}

PendingSave async_save(const std::string& folder, const torch::nn::Module& module,
                       const torch::optim::Optimizer& optimizer, std::optional<int64_t> step) {
  return async_save(folder, checkpoint::variables_of(module), optimizer, step);
}

}  // namespace weft
