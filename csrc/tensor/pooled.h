#pragma once
#include <cstddef>
#include <new>

namespace weft {

/// Base of what is made and freed by the hundred in each step: freed memory is kept for the next of the kind, up to a
/// number per thread, where malloc would search its bins.
template <class T, size_t kMost = 1024>
class Pooled {
 public:
  static void* operator new(size_t size) {
    Free* block = free_.first;
    if (size != sizeof(T) || block == nullptr) return ::operator new(size);
    free_.first = block->next;
    --free_.count;
    return block;
  }
  static void operator delete(void* memory, size_t size) {
    if (size != sizeof(T) || free_.count >= kMost) return ::operator delete(memory);
    [[maybe_unused]] static thread_local const AtExit at_exit;
    free_.first = ::new (memory) Free{free_.first};
    ++free_.count;
  }

 private:
  struct Free {
    Free* next;
  };
  // Without a destructor: objects freed while the thread ends still come by.
  struct List {
    Free* first = nullptr;
    size_t count = 0;
  };
  struct AtExit {
    ~AtExit() {
      while (Free* block = free_.first) {
        free_.first = block->next;
        ::operator delete(block);
      }
      free_.count = kMost;
    }
  };
  static inline thread_local constinit List free_;
};

}  // namespace weft
