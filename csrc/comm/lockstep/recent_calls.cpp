#include "comm/lockstep/recent_calls.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "base/hash.h"
#include "mesh/context.h"

namespace weft::comm {
namespace {

struct Told {
  uint64_t hash = 0;
  int64_t elements = 0;
  std::string words;
};

std::map<int64_t, Told> parse(const std::string& text) {
  std::map<int64_t, Told> calls;
  std::istringstream in(text);
  int64_t number = 0;
  for (Told t; in >> number >> t.hash >> t.elements && std::getline(in >> std::ws, t.words);) calls[number] = t;
  return calls;
}

// Whether the rank is in this rank's line of the axis, and so has a part in its collectives.
bool in_line(const Event& event, int64_t rank) {
  if (event.mesh == nullptr) return true;
  const auto mine = event.mesh->coordinates_of(context().rank()), other = event.mesh->coordinates_of(rank);
  for (int axis = 0; axis < event.mesh->ndim(); ++axis) {
    if (axis != event.axis && mine != other && mine[axis] != other[axis]) return false;
  }
  return true;
}

}  // namespace

uint64_t RecentCalls::add(Call call) {
  const uint64_t hash = call.hash(), elements = static_cast<uint64_t>(call.event.elements);
  std::lock_guard<std::mutex> lock(mutex_);
  chain_ = mix(chain_, hash);
  const uint64_t fingerprint = mix(chain_, elements);
  last_[count_ % kKept] = {count_, std::move(call), chain_};
  ++count_;
  return fingerprint;
}

uint64_t RecentCalls::rolled() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return chain_;
}

int64_t RecentCalls::count() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return count_;
}

std::optional<Call> RecentCalls::last() const {
  std::lock_guard<std::mutex> lock(mutex_);
  if (count_ == 0) return std::nullopt;
  return last_[(count_ - 1) % kKept].call;
}

std::string RecentCalls::before_last() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return count_ < 2 ? std::string() : c10::str("number ", count_ - 2, ", ", last_[(count_ - 2) % kKept].call.str());
}

std::string RecentCalls::text() const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::string text;
  for (int64_t i = std::max<int64_t>(0, count_ - kKept); i < count_; ++i) {
    const Numbered& n = last_[i % kKept];
    std::string words = n.call.str();
    std::replace(words.begin(), words.end(), '\n', ' ');
    text += c10::str(i, ' ', n.hash, ' ', n.call.event.elements, ' ', words, '\n');
  }
  return text;
}

int64_t RecentCalls::count_in(const std::string& text) {
  const auto calls = parse(text);
  return calls.empty() ? 0 : calls.rbegin()->first + 1;
}

std::optional<RecentCalls::Difference> RecentCalls::first_difference(const std::string& theirs, int64_t other) const {
  const auto others = parse(theirs);
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [number, told] : others) {
    if (number < 0) continue;
    const Numbered& n = last_[number % kKept];
    if (n.number != number) continue;
    // Lines of a mesh may hold shards of different sizes.
    const bool same_size = n.call.event.elements == told.elements || !in_line(n.call.event, other);
    if (n.hash == told.hash && same_size) continue;
    std::string mine = n.call.str(), words = told.words;
    if (!same_size && n.hash == told.hash) {
      mine += c10::str(" (", n.call.event.elements, " elements)");
      words += c10::str(" (", told.elements, " elements)");
    }
    const bool same_words = mine == words;
    return Difference{number, std::move(mine), std::move(words), same_words};
  }
  return std::nullopt;
}

}  // namespace weft::comm
