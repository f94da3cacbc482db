#include "comm/world/fork.h"

#include <c10/util/Exception.h>

#include <pthread.h>

#include "mesh/context.h"

namespace weft::comm {

void fork_detail::raise() {
  TORCH_CHECK(false, "[W004] this process was forked off rank ", context().rank(), " of a world of ",
              context().world_size(),
              " (os.fork, multiprocessing's 'fork', a DataLoader's worker), whose connections it cannot use; start it "
              "with 'spawn' (the program under `if __name__ == \"__main__\":`), or use plain tensors only in it");
}

void watch_forks() {
  [[maybe_unused]] static const int watched =
      ::pthread_atfork(nullptr, nullptr, [] { fork_detail::forked.store(true, std::memory_order_relaxed); });
}

}  // namespace weft::comm
