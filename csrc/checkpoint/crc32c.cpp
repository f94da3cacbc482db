#include "checkpoint/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace weft::checkpoint {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // bits reversed: bit 31 is the coefficient of x^0
constexpr uint32_t kOne = uint32_t{1} << 31;

// Product of two polynomials modulo the CRC's.
constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (int i = 0; i < 32; ++i) {
    product ^= b & (0 - (a >> 31));
    a <<= 1;
    b = (b >> 1) ^ (kPolynomial & (0 - (b & 1)));
  }
  return product;
}

// x^(8 * 2^k) for each k.
constexpr auto kPowers = [] {
  std::array<uint32_t, 64> powers{};
  powers[0] = kOne >> 8;
  for (size_t k = 1; k < powers.size(); ++k) powers[k] = multiply(powers[k - 1], powers[k - 1]);
  return powers;
}();

// x^(8 * count): what multiplies a CRC that has so many zero bytes more.
uint32_t power(uint64_t count) {
  uint32_t product = kOne;
  for (size_t k = 0; count != 0; ++k, count >>= 1) {
    if (count & 1) product = multiply(product, kPowers[k]);
  }
  return product;
}

// kTables[k][b]: what byte b gives with k zero bytes after it.
constexpr auto kTables = [] {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (kPolynomial & (0 - (crc & 1)));
    tables[0][b] = crc;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (uint32_t b = 0; b < 256; ++b) {
      const uint32_t before = tables[k - 1][b];
      tables[k][b] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}();

uint32_t extend_by_table(uint32_t crc, const unsigned char* bytes, size_t length) {
  for (; length >= 8; bytes += 8, length -= 8) {
    uint32_t next = 0;
    for (size_t k = 0; k < 4; ++k) next ^= kTables[7 - k][(crc >> (8 * k) & 0xFF) ^ bytes[k]];
    for (size_t k = 4; k < 8; ++k) next ^= kTables[7 - k][bytes[k]];
    crc = next;
  }
  for (; length > 0; ++bytes, --length) crc = (crc >> 8) ^ kTables[0][(crc ^ *bytes) & 0xFF];
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t extend_by_instruction(uint32_t crc, const unsigned char* bytes,
                                                                 size_t length) {
  // The instruction takes three cycles, and one can begin in each: three runs side by side.
  constexpr size_t kRun = 1024;
  static const uint32_t by_run = power(kRun);
  const auto word = [](const unsigned char* p) {
    uint64_t w;
    std::memcpy(&w, p, sizeof w);
    return w;
  };
  for (; length >= 3 * kRun; bytes += 3 * kRun, length -= 3 * kRun) {
    uint64_t a = crc, b = 0, c = 0;
    for (size_t i = 0; i < kRun; i += 8) {
      a = _mm_crc32_u64(a, word(bytes + i));
      b = _mm_crc32_u64(b, word(bytes + kRun + i));
      c = _mm_crc32_u64(c, word(bytes + 2 * kRun + i));
    }
    const uint32_t ab = multiply(static_cast<uint32_t>(a), by_run) ^ static_cast<uint32_t>(b);
    crc = multiply(ab, by_run) ^ static_cast<uint32_t>(c);
  }
  uint64_t tail = crc;
  for (; length >= 8; bytes += 8, length -= 8) tail = _mm_crc32_u64(tail, word(bytes));
  crc = static_cast<uint32_t>(tail);
  for (; length > 0; ++bytes, --length) crc = _mm_crc32_u8(crc, *bytes);
  return crc;
}
#endif

}  // namespace

uint32_t extend(uint32_t crc, const void* bytes, size_t length) {
  const auto* first = static_cast<const unsigned char*>(bytes);
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  if (has_instruction) return extend_by_instruction(crc, first, length);
#endif
  return extend_by_table(crc, first, length);
}

uint32_t extend_by_zeros(uint32_t crc, uint64_t count) { return multiply(crc, power(count)); }

uint32_t from_zero_begun(uint32_t crc, uint64_t length) { return ~(crc ^ extend_by_zeros(~uint32_t{0}, length)); }

uint32_t crc32c(std::string_view text) { return ~extend(~uint32_t{0}, text.data(), text.size()); }

void PartialCrc::skip_to(uint64_t position) {
  const uint64_t gap = position - at_;
  at_ = position;
  if (gap == 0 || crc_ == 0) return;
  if (gap != gap_) {
    gap_ = gap;
    by_gap_ = power(gap);
  }
  crc_ = multiply(crc_, by_gap_);
}

void PartialCrc::add(uint64_t position, const void* bytes, size_t length) {
  skip_to(position);
  crc_ = extend(crc_, bytes, length);
  at_ += length;
}

uint32_t PartialCrc::finish(uint64_t length) {
  skip_to(length);
  return crc_;
}

}  // namespace weft::checkpoint
