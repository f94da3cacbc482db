#pragma once
// The format of safetensors: eight bytes of the header's length, a header in JSON, and the tensors' bytes.
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/contents.h"
#include "checkpoint/file.h"

namespace weft::checkpoint {

/// "F32", …; null: the format has no such type.
const char* safetensors_type(c10::ScalarType dtype);
constexpr int64_t kLongestHeader = 100'000'000;  // as its own library has it

/// Gives the tensors their places in a file, those of larger elements first, and returns the header, with its length.
std::string lay_out_file(const std::vector<StoredTensor*>& tensors);

/// The tensors of a file, in the order of their bytes, which fill it without gaps or overlaps. Raises ValueError naming
/// the file and what is wrong.
/// @param header  what was read of the file
std::vector<StoredTensor> read_header(const File& file, std::string& header);

}  // namespace weft::checkpoint
