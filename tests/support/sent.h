#pragma once
// What ranks that are threads send each other.
#include <c10/util/StringUtil.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "comm/lockstep/event.h"
#include "mesh/context.h"

namespace weft::test {

/// The collectives that all ranks issue while it lives; one at a time may. Whoever was told of them before is told
/// again afterwards.
class Sent {
 public:
  Sent() : before_(comm::observer.exchange(&note)) { clear(); }
  ~Sent() { comm::observer.store(before_); }
  Sent(const Sent&) = delete;
  Sent& operator=(const Sent&) = delete;

  static void clear() {
    const std::lock_guard<std::mutex> lock(mutex);
    events.clear();
  }
  static size_t count(int64_t rank) {
    const std::lock_guard<std::mutex> lock(mutex);
    return events[rank].size();
  }
  /// Of one rank, in their order: "all_gather x".
  static std::vector<std::string> by(int64_t rank) {
    const std::lock_guard<std::mutex> lock(mutex);
    std::vector<std::string> out;
    for (const auto& event : events[rank]) out.push_back(c10::str(event.kind, " ", event.mesh->axis_name(event.axis)));
    return out;
  }
  /// Of all ranks together.
  static size_t count() {
    const std::lock_guard<std::mutex> lock(mutex);
    size_t sum = 0;
    for (const auto& [rank, of_rank] : events) sum += of_rank.size();
    return sum;
  }
  static int64_t bytes() {
    const std::lock_guard<std::mutex> lock(mutex);
    int64_t sum = 0;
    for (const auto& [rank, of_rank] : events) {
      for (const comm::Event& event : of_rank) sum += event.bytes;
    }
    return sum;
  }

 private:
  static void note(const comm::Event& event) {
    const std::lock_guard<std::mutex> lock(mutex);
    events[context().rank()].push_back(event);
  }

  inline static std::mutex mutex;
  inline static std::map<int64_t, std::vector<comm::Event>> events;  // by rank
  comm::Observer before_;
};

}  // namespace weft::test
