#include "comm/lockstep/settle.h"

#include <c10/util/Exception.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include <mutex>
#include <set>
#include <utility>

#include "comm/lockstep/failure.h"
#include "comm/lockstep/guard.h"
#include "comm/lockstep/message_tag.h"
#include "comm/world/gloo_world.h"
#include "comm/world/python_lock.h"
#include "mesh/context.h"
#include "mesh/log.h"

namespace weft::comm {
namespace {

struct Settling : ContextState {
  std::mutex mutex;
  bool open = false;  // something was issued since the ranks last met
  std::set<c10d::Backend*> untagged;
  c10::intrusive_ptr<c10d::Backend> meeting;  // where they meet
  c10::intrusive_ptr<c10d::Work> pending;     // of a meeting that is not waited for yet

  void begin();
  void wait();
};

// The world's own, where it has one for CPUs; else one that is made from its store.
c10::intrusive_ptr<c10d::Backend> meeting_place() {
  if (const Group& side = context().side()) return side->getDefaultBackend();
  const Group& world = context().world();
  for (const c10::Device& device : world->getDeviceTypes()) {
    auto backend = world->getBackend(device.type());
    if (has_tags(*backend)) return backend;
  }
  const auto store = c10::make_intrusive<c10d::PrefixStore>("weft/side", world->getStore()->clone());
  context().set_side(make_gloo_world(store, world->getRank(), world->getSize()));
  return context().side()->getDefaultBackend();
}

void Settling::begin() {
  open = false;
  count_collective({"the settling of collectives", nullptr});
  if (!meeting) meeting = meeting_place();
  const MessageTag tag(*meeting, all_asked());
  pending = issue([&] { return meeting->barrier(c10d::BarrierOptions()); });
}

void Settling::wait() {
  if (const auto work = std::exchange(pending, {})) wait_for(*work, meeting.get());
}

}  // namespace

void note_issued(c10d::Backend& backend) {
  if (!guarded() || has_tags(backend)) return;
  auto& settling = context().state<Settling>();
  std::lock_guard<std::mutex> lock(settling.mutex);
  settling.open = true;
  settling.untagged.insert(&backend);
}

void settle() {
  auto& settling = context().state<Settling>();
  std::lock_guard<std::mutex> lock(settling.mutex);
  if (!settling.open && !settling.pending) return;
  const WithoutPythonLock unlocked;
  settling.wait();
  if (!settling.open) return;
  settling.begin();
  settling.wait();
}

void begin_settling() {
  auto& settling = context().state<Settling>();
  std::lock_guard<std::mutex> lock(settling.mutex);
  if (!settling.open) return;
  const WithoutPythonLock unlocked;
  settling.wait();
  settling.begin();
}

void abort_untagged() {
  auto& settling = context().state<Settling>();
  // Not under the lock: the one that has found the ranks parted may hold it.
  for (c10d::Backend* backend : settling.untagged) {
    try {
      backend->abort();
    } catch (const std::exception& e) {
      log(LogLevel::warning, "[W098] a communicator could not be aborted: ", e.what());
    }
  }
}

}  // namespace weft::comm
