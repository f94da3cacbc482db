#include "comm/world/one_thread.h"

#include <c10/util/Exception.h>

#include <atomic>
#include <thread>

#include "mesh/context.h"

namespace weft::comm {
namespace {

struct Holder : ContextState {
  std::atomic<std::thread::id> thread{};
};

}  // namespace

OneThread::OneThread() {
  std::thread::id holder{};
  const std::thread::id mine = std::this_thread::get_id();
  outermost_ = context().state<Holder>().thread.compare_exchange_strong(holder, mine, std::memory_order_acquire);
  TORCH_CHECK(
      outermost_ || holder == mine,
      "[W005] two threads of this process communicate at once, and the other processes cannot know in which order: run "
      "what needs collectives on one thread, or let the threads take turns that are the same on all ranks");
}

OneThread::~OneThread() {
  if (outermost_) context().state<Holder>().thread.store({}, std::memory_order_release);
}

}  // namespace weft::comm
