#include "checkpoint/stream_copy.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace weft::checkpoint {
namespace {

#if defined(__x86_64__)
constexpr size_t kLine = 64, kPage = 4096;
// Pages that are copied side by side: one after the other, what the processor asks of the memory ahead ends with each.
constexpr size_t kPages = 4;

__attribute__((target("avx"))) inline void stream_line(char* to, const char* from) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + kLine / 2));
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), low);
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to + kLine / 2), high);
}

// Whole lines, to the begin of a line.
__attribute__((target("avx"))) void stream_lines(char* to, const char* from, size_t lines) {
  constexpr size_t kPageLines = kPage / kLine;
  for (; lines >= kPages * kPageLines; lines -= kPages * kPageLines, to += kPages * kPage, from += kPages * kPage) {
    for (size_t at = 0; at < kPage; at += kLine) {
      for (size_t page = at; page < at + kPages * kPage; page += kPage) stream_line(to + page, from + page);
    }
  }
  for (; lines > 0; --lines, to += kLine, from += kLine) stream_line(to, from);
  _mm_sfence();  // other threads see them as they see ordinary writes
}
#endif

}  // namespace

void stream_copy(void* to, const void* from, size_t bytes) {
#if defined(__x86_64__)
  static const bool has_instructions = __builtin_cpu_supports("avx");
  if (has_instructions && bytes >= 2 * kLine) {
    auto* const out = static_cast<char*>(to);
    const auto* const in = static_cast<const char*>(from);
    const size_t head = (kLine - reinterpret_cast<uintptr_t>(out) % kLine) % kLine;
    const size_t lines = (bytes - head) / kLine, tail = head + lines * kLine;
    std::memcpy(out, in, head);
    stream_lines(out + head, in + head, lines);
    std::memcpy(out + tail, in + tail, bytes - tail);
    return;
  }
#endif
  std::memcpy(to, from, bytes);
}

}  // namespace weft::checkpoint
