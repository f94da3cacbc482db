#pragma once
// CRC-32C (Castagnoli), and the same put together from parts. The CRC is linear: begun at zero, that of a text is the
// XOR of those of its parts, each with zeros in place of all other bytes. So ranks that have a part of a tensor each
// check it whole.
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace weft::checkpoint {

/// The checksum of a whole text, as everybody computes it.
uint32_t crc32c(std::string_view text);

/// `crc` (begun at zero, nothing inverted) after the bytes.
uint32_t extend(uint32_t crc, const void* bytes, size_t length);
/// `crc` after that many zero bytes.
uint32_t extend_by_zeros(uint32_t crc, uint64_t count);
/// The usual form of one begun at zero over `length` bytes.
uint32_t from_zero_begun(uint32_t crc, uint64_t length);

/// The checksum of a text of which some parts are given, in rising order, and the others count as zeros.
class PartialCrc {
 public:
  /// `position` of the part's first byte: not before the last one's end.
  void add(uint64_t position, const void* bytes, size_t length);
  /// Begun at zero, of the whole text of `length` bytes.
  uint32_t finish(uint64_t length);

 private:
  void skip_to(uint64_t position);

  uint32_t crc_ = 0;
  uint64_t at_ = 0;
  uint64_t gap_ = 0;  // the last one, which most often comes again, and what shifts by it
  uint32_t by_gap_ = 0;
};

}  // namespace weft::checkpoint
