#include "base/interned.h"

#include <mutex>
#include <set>

namespace weft {

const std::string* interned(const std::string& text) {
  static std::mutex* mutex = new std::mutex();
  static auto* texts = new std::set<std::string>();
  std::lock_guard<std::mutex> lock(*mutex);
  return &*texts->insert(text).first;
}

}  // namespace weft
