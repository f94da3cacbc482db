#pragma once
// Reading a rank's part of a tensor from a checkpoint's file.
#include <ATen/core/Tensor.h>

#include <memory>

#include "checkpoint/box.h"
#include "checkpoint/contents.h"
#include "checkpoint/crc32c.h"
#include "checkpoint/file.h"

namespace weft::checkpoint {

/// Holds some mebibytes to read by, no more.
class Reader {
 public:
  explicit Reader(const Contents& contents) : contents_(contents) {}

  /// What this rank's part adds to the tensor's checksum (begun at zero).
  /// @param part  filled with it, converted to its type; undefined: it is read for the checksum alone
  uint32_t read(const StoredTensor& tensor, const Box& box, const at::Tensor& part);

 private:
  struct Span;
  void read_elements(const StoredTensor& tensor, const Box& box, int64_t first, int64_t count, char* to,
                     PartialCrc& crc);
  void read_long(const File& file, int64_t offset, int64_t position, int64_t length, char* to, PartialCrc& crc);
  char* covering_memory();

  const Contents& contents_;
  std::unique_ptr<char[]> covering_;
};

}  // namespace weft::checkpoint
