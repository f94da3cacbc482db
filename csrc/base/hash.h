#pragma once
// Hashes that are the same in every process, unlike std::hash: what ranks compare.
#include <cstdint>
#include <string_view>

namespace weft {

/// `h` with one more word. Every bit of both reaches all bits within two steps (a multiplication as in FNV-1a, on whole
/// words, and a shift that brings the high bits down).
constexpr uint64_t mix(uint64_t h, uint64_t word) {
  h = (h ^ word) * 0x9FB21C651E98DF25ull;
  return h ^ (h >> 32);
}

constexpr uint64_t hash_text(std::string_view text) {
  uint64_t h = text.size();
  for (char c : text) h = mix(h, static_cast<unsigned char>(c));
  return h;
}

}  // namespace weft
