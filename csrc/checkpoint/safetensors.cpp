#include "checkpoint/safetensors.h"

#include <c10/util/Exception.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <utility>

#include "base/quote.h"
#include "paths/json_reader.h"

namespace weft::checkpoint {
namespace {

using c10::ScalarType;

constexpr std::pair<const char*, ScalarType> kTypes[] = {
    {"F64", ScalarType::Double},
    {"F32", ScalarType::Float},
    {"F16", ScalarType::Half},
    {"BF16", ScalarType::BFloat16},
    {"F8_E4M3", ScalarType::Float8_e4m3fn},
    {"F8_E4M3FNUZ", ScalarType::Float8_e4m3fnuz},
    {"F8_E5M2", ScalarType::Float8_e5m2},
    {"F8_E5M2FNUZ", ScalarType::Float8_e5m2fnuz},
    {"F8_E8M0", ScalarType::Float8_e8m0fnu},
    {"C64", ScalarType::ComplexFloat},
    {"I64", ScalarType::Long},
    {"I32", ScalarType::Int},
    {"I16", ScalarType::Short},
    {"I8", ScalarType::Char},
    {"U64", ScalarType::UInt64},
    {"U32", ScalarType::UInt32},
    {"U16", ScalarType::UInt16},
    {"U8", ScalarType::Byte},
    {"BOOL", ScalarType::Bool},
};

constexpr int64_t kPrefix = 8;  // the header's length, little-endian
constexpr const char* kMetadata = "__metadata__";
constexpr JsonLimits kHeaderLimits{.bytes = kLongestHeader, .depth = 4, .values = 50'000'000};

// The number of bytes of such a tensor; negative: it is beyond 64 bits.
int64_t bytes_of(ScalarType dtype, const std::vector<int64_t>& shape) {
  auto bytes = static_cast<int64_t>(c10::elementSize(dtype));
  for (int64_t size : shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) return -1;
  }
  return bytes;
}

StoredTensor read_entry(const JsonReader& reader, const std::string& name, const JsonValue& entry) {
  reader.expect(entry, quote(name), JsonValue::object);
  StoredTensor tensor;
  tensor.name = name;
  const JsonValue& dtype = reader.need(entry, "dtype", JsonValue::string);
  for (const auto& [text, type] : kTypes) {
    if (dtype.text == text) tensor.dtype = type;
  }
  if (tensor.dtype == ScalarType::Undefined) {
    reader.fail(dtype, "the type " + quote(dtype.text) + " of " + quote(name) + " is not known");
  }
  for (const JsonValue& size : reader.need(entry, "shape", JsonValue::array).items) {
    tensor.shape.push_back(reader.count(size, "a length of " + quote(name)));
  }
  const JsonValue& offsets = reader.need(entry, "data_offsets", JsonValue::array);
  if (offsets.items.size() != 2) reader.fail(offsets, "\"data_offsets\" must be two numbers");
  tensor.offset = reader.count(offsets.items[0], "an offset");
  const int64_t end = reader.count(offsets.items[1], "an offset");
  tensor.bytes = bytes_of(tensor.dtype, tensor.shape);
  if (end < tensor.offset || end - tensor.offset != tensor.bytes) {
    reader.fail(offsets, quote(name) + " lies from byte " + std::to_string(tensor.offset) + " to " +
                             std::to_string(end) + ", which is not what its type and shape take");
  }
  if (entry.members.size() != 3) reader.fail(entry, "unknown keys in the entry of " + quote(name));
  return tensor;
}

}  // namespace

const char* safetensors_type(ScalarType dtype) {
  for (const auto& [text, type] : kTypes) {
    if (type == dtype) return text;
  }
  return nullptr;
}

std::string lay_out_file(const std::vector<StoredTensor*>& tensors) {
  std::vector<StoredTensor*> order = tensors;
  std::stable_sort(order.begin(), order.end(), [](const StoredTensor* a, const StoredTensor* b) {
    return c10::elementSize(a->dtype) > c10::elementSize(b->dtype);
  });
  // Put together by hand: an ordered object of nlohmann's looks through all of its keys for each new one.
  std::string text = "{\"" + std::string(kMetadata) + "\":{\"format\":\"pt\"}";
  int64_t end = 0;
  for (StoredTensor* tensor : order) {
    tensor->bytes = bytes_of(tensor->dtype, tensor->shape);
    tensor->offset = end;
    end += tensor->bytes;
    const nlohmann::ordered_json entry = {
        {"dtype", safetensors_type(tensor->dtype)}, {"shape", tensor->shape}, {"data_offsets", {tensor->offset, end}}};
    text += "," + nlohmann::json(tensor->name).dump() + ":" + entry.dump();
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data begin at a multiple of eight
  TORCH_CHECK_VALUE(text.size() <= static_cast<size_t>(kLongestHeader), "[W117] save: the names and shapes of ",
                    tensors.size(), " tensors take ", text.size(), " bytes, more than a safetensors file can have");
  std::string prefix(kPrefix, '\0');
  for (int64_t i = 0; i < kPrefix; ++i) prefix[i] = static_cast<char>(text.size() >> (8 * i) & 0xFF);
  for (StoredTensor* tensor : tensors) tensor->offset += kPrefix + static_cast<int64_t>(text.size());
  return prefix + text;
}

std::vector<StoredTensor> read_header(const File& file, std::string& header) {
  const int64_t size = file.size();
  const std::string name = quote(file.path());
  TORCH_CHECK_VALUE(size >= kPrefix, "[W112] ", name, " has ", size, " bytes and so is no safetensors file");
  header.assign(kPrefix, '\0');
  file.read(header.data(), kPrefix, 0);
  uint64_t length = 0;
  for (int64_t i = 0; i < kPrefix; ++i) length |= uint64_t{static_cast<unsigned char>(header[i])} << (8 * i);
  TORCH_CHECK_VALUE(length <= static_cast<uint64_t>(std::min(kLongestHeader, size - kPrefix)), "[W112] ", name, " has ",
                    size, " bytes, and a header of ", length, " by what stands in its first eight");
  std::string text(length, '\0');
  file.read(text.data(), static_cast<int64_t>(length), kPrefix);
  header += text;
  const JsonValue root = parse_json(text, file.path(), kHeaderLimits);
  const JsonReader reader{text, file.path()};
  reader.expect(root, "the header", JsonValue::object);
  std::vector<StoredTensor> tensors;
  for (const auto& [key, value] : root.members) {
    if (key != kMetadata) tensors.push_back(read_entry(reader, key, value));
  }
  std::stable_sort(tensors.begin(), tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  const int64_t start = kPrefix + static_cast<int64_t>(length);
  int64_t end = 0;
  for (StoredTensor& tensor : tensors) {
    TORCH_CHECK_VALUE(tensor.offset == end, "[W112] ", name, ": ", quote(tensor.name), " begins at byte ",
                      tensor.offset, " of the data, and what is before it ends at ", end);
    end += tensor.bytes;
    tensor.offset += start;
  }
  TORCH_CHECK_VALUE(end == size - start, "[W112] ", name, " has ", size - start,
                    " bytes of data, and its header tells of ", end);
  return tensors;
}

}  // namespace weft::checkpoint
