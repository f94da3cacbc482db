#pragma once
// The ops that this thread ran lately on sharded tensors, to find the first that two ranks ran differently once their
// collectives do not belong together.
#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "tensor/identity.h"

namespace weft {

class OpHistory {
 public:
  struct Op {
    const char* name = nullptr;
    Identity tensors = 0;                 // of its sharded operands together
    uint64_t values = 0;                  // of its other arguments
    uint64_t plain = 0;                   // of its plain operands; 0: none
    const char* plain_operand = nullptr;  // the name of the first of them
    int64_t collectives = 0, since = 0;   // collectives that were asked for before it, and ops since
  };

  /// Stands for a draw from a random stream, its `values` for what was drawn.
  static constexpr const char* kRandom = "random";

  static OpHistory& of_thread();
  void add(const Op& op) {
    Op& place = last_[count_++ % kKept];
    place = op;
    place.collectives = collectives_;
    place.since = since_++;
  }
  /// That many collectives have been asked for.
  void note_collectives(int64_t count);

  /// A number of its own for what is done now, the same on all ranks that are in step, on whichever thread: which one
  /// of a pool is free may differ.
  static uint64_t new_place();

  /// What other ranks are told of the last ones, of no more than some kilobytes.
  std::string text() const;
  /// The first op, by two ranks' texts, that they ran differently between the same collectives: "before that,
  /// rank 0 ran [mul.Tensor] and rank 1 …". Empty: none that both know of.
  static std::string first_difference(const std::string& mine, const std::string& theirs, int64_t my_rank,
                                      int64_t their_rank);

 private:
  static constexpr int64_t kKept = 64;
  std::array<Op, kKept> last_{};
  int64_t count_ = 0, collectives_ = 0, since_ = 0;
};

}  // namespace weft
