#include "comm/recent_calls.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <map>
#include <sstream>

namespace weft::comm {
namespace {

std::map<int64_t, std::string> parse(const std::string& text) {
  std::map<int64_t, std::string> calls;
  std::istringstream in(text);
  int64_t number = 0;
  for (std::string line; in >> number && std::getline(in >> std::ws, line);) calls[number] = line;
  return calls;
}

}  // namespace

std::string RecentCalls::Call::str() const {
  if (mesh == nullptr) return kind;
  return c10::str(kind, " over '", mesh->axis_name(axis), "' of ", mesh->str());
}

void RecentCalls::add(const char* kind, Mesh mesh, int axis) {
  std::lock_guard<std::mutex> lock(mutex_);
  last_[count_++ % kKept] = {kind, mesh, axis};
}

int64_t RecentCalls::count() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return count_;
}

std::string RecentCalls::text() const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::string text;
  for (int64_t i = std::max<int64_t>(0, count_ - kKept); i < count_; ++i) {
    text += c10::str(i, ' ', last_[i % kKept].str(), '\n');
  }
  return text;
}

std::optional<RecentCalls::Difference> RecentCalls::first_difference(const std::string& mine,
                                                                     const std::string& theirs) {
  const auto others = parse(theirs);
  for (const auto& [number, call] : parse(mine)) {
    const auto other = others.find(number);
    if (other != others.end() && other->second != call) return Difference{number, call, other->second};
  }
  return std::nullopt;
}

}  // namespace weft::comm
