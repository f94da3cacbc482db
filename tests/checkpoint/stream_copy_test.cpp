#include "checkpoint/stream_copy.h"

#include <gtest/gtest.h>

#include <string>

namespace weft::checkpoint {
namespace {

TEST(StreamCopy, AllBytesAndNoOthersAtAnyAddress) {
  std::string from(50000, '\0');
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<char>('a' + i % 23);
  for (size_t length : {0, 1, 63, 64, 127, 128, 129, 191, 192, 1024, 4095, 4097, 16384, 16447, 16448, 40000}) {
    for (size_t shift : {0, 1, 31, 32, 63}) {
      std::string to(from.size(), '.'), expected = to;
      expected.replace(shift, length, from, shift / 2, length);
      stream_copy(to.data() + shift, from.data() + shift / 2, length);
      EXPECT_EQ(to, expected) << length << " bytes, to " << shift;
    }
  }
}

}  // namespace
}  // namespace weft::checkpoint
