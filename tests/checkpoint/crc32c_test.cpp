#include "checkpoint/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace weft::checkpoint {
namespace {

// By the definition, a bit at a time.
uint32_t by_bits(const std::string& text) {
  uint32_t crc = ~uint32_t{0};
  for (unsigned char c : text) {
    crc ^= c;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78 : 0);
  }
  return ~crc;
}

std::string random_text(size_t length) {
  std::mt19937 random(static_cast<uint32_t>(length));
  std::string text(length, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

TEST(Crc32c, KnownValues) {  // RFC 3720, B.4
  EXPECT_EQ(crc32c("123456789"), 0xE3069283);
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AA);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43);
}

TEST(Crc32c, AsDefinedForAllLengths) {
  for (size_t length : {1, 7, 8, 9, 63, 191, 192, 193, 1023, 1024, 1535, 1536, 1537, 3071, 3072, 3073, 9999}) {
    const std::string text = random_text(length);
    EXPECT_EQ(crc32c(text), by_bits(text)) << length;
    EXPECT_EQ(crc32c(text.substr(1)), by_bits(text.substr(1))) << "at an odd address, " << length;
  }
}

TEST(Crc32c, PartsOfSeveralMakeUpTheWhole) {
  const std::string text = random_text(5000);
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    PartialCrc parts[3];
    for (size_t at = 0; at < text.size();) {
      const size_t length = std::min<size_t>(random() % (round < 25 ? 40 : 2000), text.size() - at);
      parts[random() % 3].add(at, text.data() + at, length);
      at += length;
    }
    uint32_t sum = 0;
    for (PartialCrc& part : parts) sum ^= part.finish(text.size());
    EXPECT_EQ(from_zero_begun(sum, text.size()), crc32c(text));
  }
}

TEST(Crc32c, ZerosAreShifts) {
  const std::string text = "some text";
  const uint32_t crc = extend(0, text.data(), text.size());
  for (size_t zeros : {0, 1, 3, 4096, 70000}) {
    const std::string longer(zeros, '\0');
    EXPECT_EQ(extend_by_zeros(crc, zeros), extend(crc, longer.data(), zeros)) << zeros;
  }
}

}  // namespace
}  // namespace weft::checkpoint
