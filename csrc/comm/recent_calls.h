#pragma once
// The collectives that a rank asked for lately, to find where two ranks began to ask for different ones. All ranks
// number them alike, as every mesh covers the world.
#include <weft/layout.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

namespace weft::comm {

class RecentCalls {
 public:
  /// `mesh` null: something that all ranks do together over no axis.
  void add(const char* kind, Mesh mesh, int axis);
  /// How many there were in all.
  int64_t count() const;
  /// For other ranks: what the last ones are, of no more than some kilobytes.
  std::string text() const;

  struct Difference {
    int64_t number;  // of the collective, from 0
    std::string mine, theirs;
  };
  /// The first call of those that both texts tell of in which they differ.
  static std::optional<Difference> first_difference(const std::string& mine, const std::string& theirs);

 private:
  struct Call {
    const char* kind;
    Mesh mesh;
    int axis;
    std::string str() const;
  };
  static constexpr int64_t kKept = 16;

  mutable std::mutex mutex_;
  std::array<Call, kKept> last_{};
  int64_t count_ = 0;
};

}  // namespace weft::comm
