#include "debug/memory_log.h"

#include <c10/core/Allocator.h>
#include <c10/util/Exception.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "base/interned.h"
#include "tensor/running.h"
#include "tensor/sharded.h"
#include "tensor/unreal.h"

namespace weft {
namespace {

constexpr int64_t kMetaBlocks = int64_t{1} << 62;  // beyond all addresses

struct MemoryLog {
  std::mutex mutex;
  bool open = false;
  std::vector<MemoryRow> rows;
};
MemoryLog& memory_log() {
  static MemoryLog* log = new MemoryLog();
  return *log;
}

void note_memory(int64_t block, int64_t bytes) {
  MemoryRow row{block, bytes};
  if (bytes > 0) {
    const RunningFor running = RunningFor::now();
    if (running.op != nullptr) row.op = interned(running.op);
    row.path = running.path;
  }
  std::lock_guard<std::mutex> lock(memory_log().mutex);
  if (memory_log().open) memory_log().rows.push_back(row);
}

// Core tells it of this thread's memory on the CPU.
struct CpuReport final : c10::MemoryReportingInfoBase {
  void reportMemoryUsage(void* block, int64_t bytes, size_t, size_t, c10::Device device) override {
    if (device.is_cpu() && !ForPlanning::holds()) note_memory(reinterpret_cast<int64_t>(block), bytes);
  }
  bool memoryProfilingEnabled() const override { return true; }
};

struct MetaBlock {
  int64_t number, bytes;
};

// Stands in core's place: its tensors have no memory either, but their ends are seen.
struct MetaAllocator final : c10::Allocator {
  explicit MetaAllocator(c10::Allocator* core) : core_(core) {}

  c10::DataPtr allocate(size_t bytes) override {
    static std::atomic<int64_t> numbers{kMetaBlocks};
    auto block = std::make_unique<MetaBlock>(MetaBlock{++numbers, static_cast<int64_t>(bytes)});
    if (bytes > 0 && !ForPlanning::holds()) note_memory(block->number, block->bytes);
    return {nullptr, block.release(), &give_back, at::Device(at::kMeta)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return core_->raw_deleter(); }
  void copy_data(void*, const void*, size_t) const override {}

  static void give_back(void* context) {
    const std::unique_ptr<MetaBlock> block(static_cast<MetaBlock*>(context));
    if (block->bytes > 0) note_memory(block->number, -block->bytes);
  }

 private:
  c10::Allocator* core_;
};

void install_meta_allocator() {
  [[maybe_unused]] static const bool done = [] {
    c10::SetAllocator(at::kMeta, new MetaAllocator(c10::GetAllocator(at::kMeta)));
    return true;
  }();
}

}  // namespace

void memory_log_start() {
  install_meta_allocator();
  {
    std::lock_guard<std::mutex> lock(memory_log().mutex);
    TORCH_CHECK_VALUE(!memory_log().open, "[W150] a record of memory is under way already; end that one first");
    memory_log().open = true;
  }
  c10::ThreadLocalDebugInfo::_push(c10::DebugInfoKind::PROFILER_STATE, std::make_shared<CpuReport>());
}

int64_t memory_log_length() {
  std::lock_guard<std::mutex> lock(memory_log().mutex);
  return static_cast<int64_t>(memory_log().rows.size());
}

void memory_log_drop_temporaries(int64_t begin) {
  std::lock_guard<std::mutex> lock(memory_log().mutex);
  auto& rows = memory_log().rows;
  if (begin >= static_cast<int64_t>(rows.size())) return;
  const auto from = rows.begin() + begin;
  std::unordered_set<int64_t> taken, temporary;
  for (auto row = from; row != rows.end(); ++row) {
    if (row->block > kMetaBlocks && row->bytes > 0) taken.insert(row->block);
    if (row->bytes < 0 && taken.count(row->block) > 0) temporary.insert(row->block);
  }
  if (temporary.empty()) return;
  rows.erase(std::remove_if(from, rows.end(), [&](const MemoryRow& row) { return temporary.count(row.block) > 0; }),
             rows.end());
}

std::vector<MemoryRow> memory_log_stop() {
  {
    std::lock_guard<std::mutex> lock(memory_log().mutex);
    TORCH_CHECK_VALUE(memory_log().open, "[W150] no record of memory is under way");
    memory_log().open = false;
  }
  c10::ThreadLocalDebugInfo::_pop(c10::DebugInfoKind::PROFILER_STATE);
  std::lock_guard<std::mutex> lock(memory_log().mutex);
  return std::exchange(memory_log().rows, {});
}

int64_t memory_block(const at::Tensor& tensor) {
  const at::Tensor& local = holds_shards(tensor) ? sharded(tensor).local() : tensor;
  if (!local.defined() || !local.has_storage()) return 0;
  const c10::DataPtr& data = local.storage().data_ptr();
  if (!local.is_meta()) return reinterpret_cast<int64_t>(data.get());
  return data.get_deleter() == &MetaAllocator::give_back ? static_cast<MetaBlock*>(data.get_context())->number : 0;
}

}  // namespace weft
