#include "checkpoint/reader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "checkpoint/large_pages.h"
#include "tensor/below_autograd.h"

namespace weft::checkpoint {
namespace {

constexpr int64_t kCovering = 8 << 20;   // bytes of a read that covers many short runs
constexpr int64_t kLongRun = 256 << 10;  // from which on a run is read by itself
constexpr int64_t kLongGap = 4 << 10;    // that is sooner passed over than read
constexpr size_t kMostRuns = 1 << 16;
constexpr int64_t kRead = 1 << 20;  // bytes that are still in the cache when their checksum is computed

// The stored row-major elements are bytes in memory that can be read into.
bool is_memory(const StoredTensor& tensor, const at::Tensor& part) {
  return part.is_cpu() && part.is_contiguous() && part.scalar_type() == tensor.dtype && !part.is_conj() &&
         !part.is_neg();
}

}  // namespace

// Short runs that one read covers.
struct Reader::Span {
  std::vector<Box::Run> runs;
  int64_t end = 0;  // of the last one
};

uint32_t Reader::read(const StoredTensor& tensor, const Box& box, const at::Tensor& part) {
  const BelowAutograd guard;
  PartialCrc crc;
  if (!part.defined()) {
    read_elements(tensor, box, 0, box.numel(), nullptr, crc);
  } else if (is_memory(tensor, part)) {
    prefer_large_pages(part.mutable_data_ptr(), part.nbytes());
    read_elements(tensor, box, 0, box.numel(), static_cast<char*>(part.mutable_data_ptr()), crc);
  } else {
    blocks(part, kCovering, [&](const Block& block) {
      const at::Tensor elements = at::empty(block.elements.sizes(), at::TensorOptions(tensor.dtype));
      read_elements(tensor, box, block.first, elements.numel(), static_cast<char*>(elements.mutable_data_ptr()), crc);
      block.elements.copy_(elements);
    });
  }
  return crc.finish(tensor.bytes);
}

// The part's elements [first, first + count); null `to`: for the checksum alone.
void Reader::read_elements(const StoredTensor& tensor, const Box& box, int64_t first, int64_t count, char* to,
                           PartialCrc& crc) {
  const auto element = static_cast<int64_t>(c10::elementSize(tensor.dtype));
  const File& from = *contents_.files[tensor.file].opened;
  Span span;
  const auto flush = [&] {
    if (span.runs.empty()) return;
    if (to != nullptr && span.runs.size() == 1) {
      const Box::Run& run = span.runs.front();
      char* memory = to + (run.part - first) * element;
      from.read(memory, run.length * element, tensor.offset + run.full * element);
      crc.add(run.full * element, memory, run.length * element);
      span.runs.clear();
      return;
    }
    const int64_t begin = span.runs.front().full;
    char* const covering = covering_memory();
    from.read(covering, (span.end - begin) * element, tensor.offset + begin * element);
    for (const Box::Run& run : span.runs) {
      const char* bytes = covering + (run.full - begin) * element;
      crc.add(run.full * element, bytes, run.length * element);
      if (to != nullptr) std::memcpy(to + (run.part - first) * element, bytes, run.length * element);
    }
    span.runs.clear();
  };
  box.runs(first, count, [&](const Box::Run& run) {
    if (run.length * element >= kLongRun) {
      flush();
      char* memory = to == nullptr ? nullptr : to + (run.part - first) * element;
      read_long(from, tensor.offset, run.full * element, run.length * element, memory, crc);
      return;
    }
    if (!span.runs.empty()) {
      const int64_t covered = (run.full + run.length - span.runs.front().full) * element;
      const int64_t gap = (run.full - span.end) * element;
      if (covered > kCovering || gap >= kLongGap || span.runs.size() >= kMostRuns) flush();
    }
    span.runs.push_back(run);
    span.end = run.full + run.length;
  });
  flush();
}

char* Reader::covering_memory() {
  if (!covering_) covering_ = std::make_unique_for_overwrite<char[]>(kCovering);
  return covering_.get();
}

void Reader::read_long(const File& from, int64_t offset, int64_t position, int64_t length, char* to, PartialCrc& crc) {
  for (int64_t done = 0; done < length; done += kRead) {
    const int64_t n = std::min(kRead, length - done);
    char* memory = to == nullptr ? covering_memory() : to + done;
    from.read(memory, n, offset + position + done);
    crc.add(position + done, memory, n);
  }
}

}  // namespace weft::checkpoint
