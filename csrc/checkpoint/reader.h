#pragma once
// Reading a rank's part of a tensor from a checkpoint's file.
#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/box.h"
#include "checkpoint/contents.h"
#include "checkpoint/crc32c.h"
#include "checkpoint/file.h"

namespace weft::checkpoint {

/// Holds what it reads by: the open files, and no more than some mebibytes.
class Reader {
 public:
  Reader(const std::string& folder, const Contents& contents);
  ~Reader();

  /// What this rank's part adds to the tensor's checksum (begun at zero).
  /// @param part  filled with it, converted to its type; undefined: it is read for the checksum alone
  uint32_t read(const StoredTensor& tensor, const Box& box, const at::Tensor& part);

 private:
  struct Span;
  void read_elements(const StoredTensor& tensor, const Box& box, int64_t first, int64_t count, char* to,
                     PartialCrc& crc);
  void read_long(const File& file, int64_t offset, int64_t position, int64_t length, char* to, PartialCrc& crc);
  const File& file(size_t number);
  char* covering_memory();

  const std::string& folder_;
  const Contents& contents_;
  std::map<size_t, File> files_;
  std::unique_ptr<char[]> covering_;
};

}  // namespace weft::checkpoint
