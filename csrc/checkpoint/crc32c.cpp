#include "checkpoint/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
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

// x^bits
constexpr uint32_t bit_power(uint64_t bits) {
  uint32_t product = kOne;
  for (uint32_t square = kOne >> 1; bits != 0; bits >>= 1, square = multiply(square, square)) {
    if (bits & 1) product = multiply(product, square);
  }
  return product;
}

// x^(8 * 2^k) for each k.
constexpr auto kPowers = [] {
  std::array<uint32_t, 64> powers{};
  powers[0] = bit_power(8);
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

// The order of x is 2^31 - 1.
constexpr uint32_t kLess33 = bit_power(0x7FFFFFFF - 33);

#if defined(__x86_64__)
// The product with a polynomial that is given divided by x^33: two reversed polynomials make the reversed product one
// place lower, and the CRC of eight bytes takes that by 32 more.
__attribute__((target("sse4.2,pclmul"))) uint32_t multiply_by_instruction(uint32_t a, uint32_t b_less_33) {
  const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(int64_t{a}), _mm_cvtsi64_si128(int64_t{b_less_33}), 0);
  return static_cast<uint32_t>(_mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(product))));
}

struct Rest {
  uint32_t crc;
  const unsigned char* bytes;
  size_t length;
};

uint64_t word(const unsigned char* bytes) {
  uint64_t w;
  std::memcpy(&w, bytes, sizeof w);
  return w;
}

// The instruction takes three cycles, and one can begin in each: three runs side by side.
template <size_t kRun>
__attribute__((target("sse4.2,pclmul"))) void extend_by_runs(Rest& rest) {
  constexpr uint32_t kByOne = multiply(bit_power(8 * kRun), kLess33), kByTwo = multiply(bit_power(16 * kRun), kLess33);
  for (; rest.length >= 3 * kRun; rest.bytes += 3 * kRun, rest.length -= 3 * kRun) {
    uint64_t a = rest.crc, b = 0, c = 0;
    for (size_t i = 0; i < kRun; i += 8) {
      a = _mm_crc32_u64(a, word(rest.bytes + i));
      b = _mm_crc32_u64(b, word(rest.bytes + kRun + i));
      c = _mm_crc32_u64(c, word(rest.bytes + 2 * kRun + i));
    }
    rest.crc = multiply_by_instruction(static_cast<uint32_t>(a), kByTwo) ^
               multiply_by_instruction(static_cast<uint32_t>(b), kByOne) ^ static_cast<uint32_t>(c);
  }
}

__attribute__((target("sse4.2"))) uint32_t extend_by_instruction(uint32_t crc, const unsigned char* bytes,
                                                                 size_t length) {
  Rest rest{crc, bytes, length};
  extend_by_runs<512>(rest);
  extend_by_runs<64>(rest);
  uint64_t tail = rest.crc;
  for (; rest.length >= 8; rest.bytes += 8, rest.length -= 8) tail = _mm_crc32_u64(tail, word(rest.bytes));
  rest.crc = static_cast<uint32_t>(tail);
  for (; rest.length > 0; ++rest.bytes, --rest.length) rest.crc = _mm_crc32_u8(rest.crc, *rest.bytes);
  return rest.crc;
}

bool has_instructions() {
  static const bool has = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
  return has;
}
#endif

// What `multiply_prepared` multiplies by.
uint32_t prepared(uint32_t factor) {
#if defined(__x86_64__)
  if (has_instructions()) return multiply(factor, kLess33);
#endif
  return factor;
}

uint32_t multiply_prepared(uint32_t a, uint32_t factor) {
#if defined(__x86_64__)
  if (has_instructions()) return multiply_by_instruction(a, factor);
#endif
  return multiply(a, factor);
}

}  // namespace

uint32_t extend(uint32_t crc, const void* bytes, size_t length) {
  const auto* first = static_cast<const unsigned char*>(bytes);
#if defined(__x86_64__)
  if (has_instructions()) return extend_by_instruction(crc, first, length);
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
    by_gap_ = prepared(power(gap));
  }
  crc_ = multiply_prepared(crc_, by_gap_);
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
