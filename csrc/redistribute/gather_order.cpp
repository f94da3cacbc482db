#include "redistribute/gather_order.h"

#include <utility>

namespace weft {
namespace {

uint64_t key(GatherOrder::Number before, GatherOrder::Number now) {
  return static_cast<uint64_t>(static_cast<uint32_t>(before)) << 32 | static_cast<uint32_t>(now);
}

}  // namespace

bool GatherOrder::note(Number now, bool backward) {
  if (seen_.size() <= static_cast<size_t>(now)) seen_.resize(now + 1);
  const bool begins = last_ == kNone || (!backward && (backward_ || seen_[now] == pass_));
  if (begins) {
    next_.erase(key(before_, last_));
    ++pass_;
    last_ = kNone;
  } else {
    next_[key(before_, last_)] = now;
  }
  before_ = std::exchange(last_, now);
  seen_[now] = pass_;
  backward_ = backward;
  return begins;
}

GatherOrder::Number GatherOrder::next(Number before, Number now) const {
  const auto found = next_.find(key(before, now));
  return found == next_.end() ? kNone : found->second;
}

}  // namespace weft
