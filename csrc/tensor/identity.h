#pragma once
// Which value a sharded tensor holds, told without looking at it: a hash of how it was made. Two ranks that run the
// same program give the same tensor the same identity; where one skipped, swapped or repeated an op, or passed it
// another number, the identities of all that follows from it differ. Collectives carry the identity of what they move
// (comm/lockstep/call.h), so that what does not belong together never meets. It depends on the program alone: never on
// layouts, plans, local values, addresses or reference counts.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>

#include "base/hash.h"

namespace weft {

/// 0: unknown, of what was made outside any op.
using Identity = uint64_t;

/// The op that runs on this thread. Those that it calls while it runs nest in it.
class RunningOp {
 public:
  /// `name` and `path` must live as long as it. `path` null: it concerns no tagged variable.
  /// `keeps_value`: its results are what that identity is: a copy, another layout.
  RunningOp(const char* name, Identity identity, const std::string* path, bool keeps_value = false)
      : name_(name), identity_(identity), path_(path), outer_(current_), keeps_value_(keeps_value) {
    current_ = this;
  }
  ~RunningOp() { current_ = outer_; }
  RunningOp(const RunningOp&) = delete;
  RunningOp& operator=(const RunningOp&) = delete;

  /// The innermost; null: none.
  static RunningOp* current() { return current_; }

  const char* name() const { return name_; }
  const RunningOp* outer() const { return outer_; }
  const std::string* path() const { return path_; }
  Identity identity() const { return identity_; }
  /// The identity of the op's next result, in the order in which they are made.
  Identity next_result() { return keeps_value_ ? identity_ : mix(identity_, ++results_); }
  /// It depends on one more thing.
  void add(uint64_t word) { identity_ = mix(identity_, word); }

 private:
  friend class NoOp;
  const char* name_;
  Identity identity_;
  const std::string* path_;
  RunningOp* outer_;
  uint64_t results_ = 0;
  const bool keeps_value_;
  static inline thread_local constinit RunningOp* current_ = nullptr;
};

/// While it lives, no op runs as far as collectives can tell: what they move is compared, and may differ.
class NoOp {
 public:
  NoOp() : kept_(std::exchange(RunningOp::current_, nullptr)) {}
  ~NoOp() { RunningOp::current_ = kept_; }
  NoOp(const NoOp&) = delete;
  NoOp& operator=(const NoOp&) = delete;

 private:
  RunningOp* kept_;
};

/// The identity of a tensor that is made now.
inline Identity new_identity() {
  RunningOp* op = RunningOp::current();
  return op != nullptr ? op->next_result() : 0;
}

/// The identity of what all ranks bring into being together by that call, from plain tensors or from nothing: it is
/// told by its place among such calls since the last collective.
Identity new_root(const char* call);

/// A hash of up to `words` of the values of a plain tensor, evenly taken, and of its shape. 0 for one that cannot be
/// read for free: on a GPU, without memory, with gaps between its elements.
uint64_t sample(const at::Tensor& plain, int64_t words);

/// `words` for what an op meets: reading them takes as long as a small op does.
inline constexpr int64_t kOperandWords = 128;
/// `words` for what is laid out, or loaded: it happens a few times a step.
inline constexpr int64_t kValueWords = 4096;

}  // namespace weft
