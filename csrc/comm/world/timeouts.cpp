#include "comm/world/timeouts.h"

#include <c10/util/Exception.h>

#include <cmath>

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

void check(double seconds, const char* name) {
  constexpr double kLongest = std::chrono::duration<double>(Timeouts::kLongest).count();
  TORCH_CHECK_VALUE(seconds >= 0.001 && seconds <= kLongest, "[W006] initialize: ", name, " is ", seconds,
                    " seconds, but must be 0.001 to ", static_cast<int64_t>(kLongest), " (24 days)");
}

}  // namespace

void Timeouts::set(std::optional<milliseconds> steady, std::optional<milliseconds> first) {
  if (steady) check(std::chrono::duration<double>(*steady).count(), "timeout");
  if (first) check(std::chrono::duration<double>(*first).count(), "first_timeout");
  if (steady) steady_.store(steady->count());
  if (first) first_.store(first->count());
}

Timeouts& timeouts() {
  static Timeouts timeouts;
  return timeouts;
}

std::optional<milliseconds> timeout_from(std::optional<double> seconds, const char* name) {
  if (!seconds) return std::nullopt;
  check(*seconds, name);
  return milliseconds(std::llround(*seconds * 1000));
}

}  // namespace weft::comm
