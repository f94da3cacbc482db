#pragma once
// Memory that all ranks of the world share, if one host runs them all. What each holds in short runs is put together
// there and written in long ones, as MPI's file layer does with its collective buffers: no byte is sent.
#include <c10/util/FunctionRef.h>

#include <cstddef>
#include <memory>

#include "checkpoint/team.h"

namespace weft::checkpoint {

class CollectiveBuffer {
 public:
  static constexpr size_t kBytes = 16 << 20;  // of each half

  /// This rank's view of one that all make together; null, on all ranks: they do not share memory. All ranks call it
  /// alike.
  static std::unique_ptr<CollectiveBuffer> make(const Exchange& exchange);

  CollectiveBuffer(const CollectiveBuffer&) = delete;
  CollectiveBuffer& operator=(const CollectiveBuffer&) = delete;
  ~CollectiveBuffer();

  /// Each rank puts its part into the memory, and once all have, takes of it. All ranks call it alike; it takes the
  /// halves in turns, so that the next parts may be put there while some still take.
  void round(c10::function_ref<void(char*)> put, c10::function_ref<void(const char*)> take);

 private:
  explicit CollectiveBuffer(char* memory) : memory_(memory) {}

  char* memory_;
  size_t half_ = 0;
};

}  // namespace weft::checkpoint
