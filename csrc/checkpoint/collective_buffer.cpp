#include "checkpoint/collective_buffer.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "comm/agree/check_same.h"
#include "mesh/context.h"

namespace weft::checkpoint {
namespace {

constexpr off_t kAll = 2 * CollectiveBuffer::kBytes;

// Memory without a name, which ends with its last process, however that ends. Negative: it cannot be, or has no room,
// without which a write to it would end the process.
int make_memory() {
  const int descriptor = ::memfd_create("weft", MFD_CLOEXEC);
  if (descriptor >= 0 && ::posix_fallocate(descriptor, 0, kAll) == 0) return descriptor;
  if (descriptor >= 0) ::close(descriptor);
  return -1;
}

// Null where that is not such memory; closes it.
char* map(int descriptor) {
  struct stat facts{};
  void* memory = MAP_FAILED;
  if (descriptor >= 0 && ::fstat(descriptor, &facts) == 0 && facts.st_size == kAll) {
    memory = ::mmap(nullptr, kAll, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  }
  if (descriptor >= 0) ::close(descriptor);
  return memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
}

uint64_t random_word() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

}  // namespace

// The first rank tells where its own is found, and a number that lies in it: on another host that may be
// another's.
std::unique_ptr<CollectiveBuffer> CollectiveBuffer::make(const Exchange& exchange) {
  const bool first = context().rank() == 0;
  const uint64_t number = random_word();
  const int own = first ? make_memory() : -1;
  char* memory = own >= 0 ? map(::dup(own)) : nullptr;
  std::string told;
  if (memory != nullptr) {
    std::memcpy(memory, &number, sizeof number);
    told = std::string(reinterpret_cast<const char*>(&number), sizeof number) +
           c10::str("/proc/", ::getpid(), "/fd/", own);
  }
  told = exchange(told)[0];
  if (!first && !told.empty())
    memory = map(::open(told.substr(sizeof number).c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  const bool mine = memory != nullptr && std::memcmp(memory, told.data(), sizeof number) == 0;
  const auto all = exchange(mine ? "+" : "-");
  if (own >= 0) ::close(own);
  if (std::find(all.begin(), all.end(), "-") == all.end()) {
    return std::unique_ptr<CollectiveBuffer>(new CollectiveBuffer(memory));
  }
  if (memory != nullptr) ::munmap(memory, kAll);
  return nullptr;
}

CollectiveBuffer::~CollectiveBuffer() { ::munmap(memory_, kAll); }

void CollectiveBuffer::round(c10::function_ref<void(char*)> put, c10::function_ref<void(const char*)> take) {
  char* const memory = memory_ + half_ * kBytes;
  half_ = 1 - half_;
  put(memory);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  comm::gather_words({0});  // a barrier, which tells of ranks that part or end
  std::atomic_thread_fence(std::memory_order_seq_cst);
  take(memory);
}

}  // namespace weft::checkpoint
