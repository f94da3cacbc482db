#pragma once
// How long a collective of the world may take. weft::initialize sets it, for the whole process.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace weft::comm {

constexpr std::chrono::milliseconds kDefaultTimeout = std::chrono::minutes(30);  // c10d's own for Gloo

/// The settings. Read and set from any thread.
class Timeouts {
 public:
  /// The timeout of each collective but the first. None: not given, the backend's own holds.
  std::optional<std::chrono::milliseconds> steady() const { return given(steady_); }
  /// That of the first of a world, before which ranks compile and load for different times. None: as above.
  std::optional<std::chrono::milliseconds> first() const { return given(first_); }
  /// What the world's backends must wait for, as they know but one; `own` is theirs.
  std::chrono::milliseconds longest(std::chrono::milliseconds own) const {
    return std::max(steady().value_or(own), first().value_or(own));
  }
  /// Sets those that are given. Raises ValueError for one that is not from 1 ms to kLongest, and sets none.
  void set(std::optional<std::chrono::milliseconds> steady, std::optional<std::chrono::milliseconds> first);

  /// Stores wait by poll(2), whose milliseconds are an int.
  static constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 24);

 private:
  static std::optional<std::chrono::milliseconds> given(const std::atomic<int64_t>& ms) {
    const int64_t value = ms.load();
    return value == 0 ? std::nullopt : std::make_optional(std::chrono::milliseconds(value));
  }
  std::atomic<int64_t> steady_{0}, first_{0};  // 0: not given
};

/// Those of the process.
Timeouts& timeouts();

/// A timeout from seconds, as Python and TorchScript tell them; `name` says in the error which one it is. Raises
/// ValueError where they are no number, or out of range.
std::optional<std::chrono::milliseconds> timeout_from(std::optional<double> seconds, const char* name);

}  // namespace weft::comm
