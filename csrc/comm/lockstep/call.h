#pragma once
// One collective as a rank asks for it: what it is, and what it is for. The same on all ranks that belong together.
#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>
#include <weft/layout.h>

#include <cstdint>
#include <string>

#include "comm/lockstep/event.h"
#include "layout/shard.h"
#include "tensor/identity.h"

namespace weft::comm {

/// While it lives, collectives on this thread bring a tensor of `sizes` from one layout to another.
class Moving {
 public:
  Moving(Layout from, Layout to, c10::IntArrayRef sizes) : from(from), to(to), sizes(sizes), outer_(current_) {
    current_ = this;
  }
  ~Moving() { current_ = outer_; }
  Moving(const Moving&) = delete;
  Moving& operator=(const Moving&) = delete;
  static const Moving* current() { return current_; }

  const Layout from, to;
  const c10::IntArrayRef sizes;

 private:
  const Moving* outer_;
  static inline thread_local constinit const Moving* current_ = nullptr;
};

/// While it lives, collectives on this thread compare what the text names.
class Comparing {
 public:
  explicit Comparing(const std::string& what) : what(what), outer_(current_) { current_ = this; }
  ~Comparing() { current_ = outer_; }
  Comparing(const Comparing&) = delete;
  Comparing& operator=(const Comparing&) = delete;
  static const Comparing* current() { return current_; }

  const std::string& what;

 private:
  const Comparing* outer_;
  static inline thread_local constinit const Comparing* current_ = nullptr;
};

struct Call {
  Event event{};             // mesh null: something that all ranks do together over no axis
  const char* op = nullptr;  // null: none
  const std::string* path = nullptr;
  Layout from = nullptr, to = nullptr;  // null: not known
  Sizes sizes{};
  std::string comparing{};  // empty: nothing
  Identity identity = 0;

  /// What the thread is about to do.
  static Call of(const Event& event);
  /// "all_gather over 'a' of mesh (a=2) for [full_tensor] of up/weight, (4, 4) float from (a, None) to (None, None)"
  std::string str() const;
  /// A hash of all that the ranks of the whole world must agree about.
  uint64_t hash() const;
};

}  // namespace weft::comm
