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
  /// Of each collective but the first.
  std::chrono::milliseconds steady() const { return std::chrono::milliseconds(steady_.load()); }
  /// Of the first of a world, before which ranks compile and load for different times.
  std::chrono::milliseconds first() const { return std::chrono::milliseconds(first_.load()); }
  /// What the world's backends are made with, as they know but one.
  std::chrono::milliseconds longest() const { return std::max(steady(), first()); }
  /// Sets those that are given. Raises ValueError for one that is not from 1 ms to kLongest, and sets none.
  void set(std::optional<std::chrono::milliseconds> steady, std::optional<std::chrono::milliseconds> first);

  /// Stores wait by poll(2), whose milliseconds are an int.
  static constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 24);

 private:
  std::atomic<int64_t> steady_{kDefaultTimeout.count()}, first_{kDefaultTimeout.count()};
};

/// Those of the process.
Timeouts& timeouts();

/// From seconds, as Python and TorchScript tell them; `name` says in the error which one it is. Raises ValueError where
/// they are no number, or out of range.
std::optional<std::chrono::milliseconds> timeout_from(std::optional<double> seconds, const char* name);

}  // namespace weft::comm
