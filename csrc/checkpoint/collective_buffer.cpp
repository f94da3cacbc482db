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
#include <unistd.h>

#include "comm/agree/check_same.h"
#include "mesh/context.h"

namespace weft::checkpoint {
namespace {

constexpr size_t kAll = 2 * CollectiveBuffer::kBytes;

// Maps the memory of that name, which has this room if it is to be made; null where that fails.
char* map(const std::string& name, bool make) {
  const int descriptor = ::shm_open(name.c_str(), make ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
  if (descriptor < 0) return nullptr;
  // Without the room a write to it would end the process.
  void* memory = MAP_FAILED;
  if (!make || ::posix_fallocate(descriptor, 0, kAll) == 0) {
    memory = ::mmap(nullptr, kAll, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  }
  ::close(descriptor);
  return memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
}

uint64_t random_word() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

}  // namespace

// The first rank tells its name, and a number that lies in it: another host may have one of that name.
std::unique_ptr<CollectiveBuffer> CollectiveBuffer::make(const Exchange& exchange) {
  const bool first = context().rank() == 0;
  char* memory = nullptr;
  std::string told;
  const uint64_t number = random_word();
  const std::string own = c10::str("/weft-", ::getpid(), "-", number);
  if (first && (memory = map(own, /*make=*/true)) != nullptr) {
    std::memcpy(memory, &number, sizeof number);
    told = std::string(reinterpret_cast<const char*>(&number), sizeof number) + own;
  }
  told = exchange(told)[0];
  if (!first && !told.empty()) memory = map(told.substr(sizeof number), /*make=*/false);
  const bool mine = memory != nullptr && std::memcmp(memory, told.data(), sizeof number) == 0;
  const auto all = exchange(mine ? "+" : "-");
  if (first) ::shm_unlink(own.c_str());  // it ends with the ranks, however they end
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
