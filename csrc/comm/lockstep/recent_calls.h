#pragma once
// The collectives that a rank asked for lately, to find where two ranks began to ask for different ones. All ranks
// number them alike, as every mesh covers the world.
#include <weft/layout.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "comm/lockstep/call.h"

namespace weft::comm {

class RecentCalls {
 public:
  /// Its fingerprint: of all that the ranks in the line of the axis must agree about, and of all calls before it.
  uint64_t add(Call call);
  /// The hash of all there were.
  uint64_t rolled() const;
  /// How many there were in all.
  int64_t count() const;
  /// The last one; nothing: there was none.
  std::optional<Call> last() const;
  /// The one before it in words; empty: there was none.
  std::string before_last() const;
  /// What other ranks are told of the last ones, of no more than some kilobytes.
  std::string text() const;
  /// How many there were when `text` was written; 0: it is empty or no such text.
  static int64_t count_in(const std::string& text);

  struct Difference {
    int64_t number;  // of the collective, from 0
    std::string mine, theirs;
    bool same_words;  // the texts are equal: what differs is the value that is moved, or a call before
  };
  /// The first call that this rank and rank `other`, whose text() is `theirs`, both know of and in which they differ.
  std::optional<Difference> first_difference(const std::string& theirs, int64_t other) const;

 private:
  static constexpr int64_t kKept = 64;
  struct Numbered {
    int64_t number = -1;
    Call call;
    uint64_t hash = 0;  // of the call and of all before it
  };

  mutable std::mutex mutex_;
  std::array<Numbered, kKept> last_{};
  int64_t count_ = 0;
  uint64_t chain_ = 0;
};

}  // namespace weft::comm
