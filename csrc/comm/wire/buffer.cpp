#include "comm/wire/buffer.h"

#include <ATen/ops/empty.h>

#include <mutex>
#include <vector>

#include "mesh/context.h"

namespace weft::comm {
namespace {

constexpr int64_t kSmallest = int64_t{128} << 10;  // bytes; glibc keeps smaller blocks itself
constexpr int64_t kMostIdle = 64;                  // requests that a free one is kept for, and times its bytes

// The buffers of one rank.
struct Buffers : ContextState {
  struct Buffer {
    c10::Storage storage;
    int64_t idle = 0, idle_bytes = 0;  // requests that it was free and not the one
    // A large one, which is dear to make anew, outlasts many requests for small ones.
    bool is_given_up() const {
      return idle > kMostIdle && idle_bytes > kMostIdle * static_cast<int64_t>(storage.nbytes());
    }
  };
  std::mutex mutex;
  std::vector<Buffer> all;
};

bool fits(const c10::Storage& storage, int64_t bytes, at::Device device) {
  const auto size = static_cast<int64_t>(storage.nbytes());
  return storage.device() == device && bytes <= size && size <= bytes + bytes / 4;
}

}  // namespace

at::Tensor take_buffer(int64_t elements, const at::TensorOptions& options) {
  const int64_t bytes = elements * static_cast<int64_t>(options.dtype().itemsize());
  // On the meta device only a simulated mesh asks, for a CPU.
  if (!(options.device().is_cpu() || options.device().is_meta()) || bytes < kSmallest)
    return at::empty({elements}, options);
  auto& buffers = context().state<Buffers>();
  std::lock_guard<std::mutex> lock(buffers.mutex);
  c10::Storage found;
  for (Buffers::Buffer& buffer : buffers.all) {
    if (!buffer.storage.unique()) continue;
    if (!found && fits(buffer.storage, bytes, options.device())) {
      found = buffer.storage;
      buffer.idle = buffer.idle_bytes = 0;
    } else {
      ++buffer.idle;
      buffer.idle_bytes += bytes;
    }
  }
  std::erase_if(buffers.all, [](const Buffers::Buffer& buffer) { return buffer.is_given_up(); });
  if (found) return at::empty({0}, options).set_(found, 0, {elements}, {1});
  at::Tensor made = at::empty({elements}, options);
  buffers.all.push_back({made.storage()});
  return made;
}

void drop_simulated_buffers() {
  auto& buffers = context().state<Buffers>();
  std::lock_guard<std::mutex> lock(buffers.mutex);
  std::erase_if(buffers.all, [](const Buffers::Buffer& buffer) { return buffer.storage.device().is_meta(); });
}

}  // namespace weft::comm
