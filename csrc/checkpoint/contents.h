#pragma once
// What a checkpoint holds, and where: told by its manifest, or by a folder of Hugging Face's.
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "checkpoint/file.h"

namespace weft::checkpoint {

constexpr const char* kManifest = "weft.json";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kSingle = "model.safetensors";

constexpr int64_t kLongestText = 1 << 30;  // bytes
constexpr int kTries = 10;                 // to read what a program that saves again and again replaces meanwhile

struct StoredTensor {
  std::string name;
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  std::vector<int64_t> shape = {};
  std::string layout = {};  // that it was saved from, for people; empty: plain
  size_t file = 0;          // in Contents::files
  int64_t offset = 0;       // of its first byte, in the file
  int64_t bytes = 0;
  std::optional<uint32_t> crc = {};  // none: a folder that has no checksums
};

struct StoredFile {
  std::string name;
  int64_t bytes = 0;
  uint32_t header_crc = 0;
  std::string header = {};                  // while it is being saved: the length and the JSON
  std::shared_ptr<const File> opened = {};  // to be read: it can be, too, when a later save has removed it
};

constexpr const char* kRandomGroup = "random";  // the states of random streams, by device

struct StoredGroup {
  std::string name = {};  // "model", "optimizer", …
  std::vector<StoredTensor> tensors = {};
  std::vector<std::pair<std::string, std::string>> aliases = {};  // another name -> the tensor's
};

struct Contents {
  std::string generation;  // of the save, in the names of its files; empty: no checkpoint of Weft's
  std::optional<int64_t> step;
  int64_t processes = 1;
  std::vector<StoredFile> files;
  std::vector<StoredGroup> groups;
  std::string values = "{}";  // JSON; what it means is the caller's matter

  const StoredGroup* group(const std::string& name) const;
};

/// The group's tensors by all of their names.
std::unordered_map<std::string, const StoredTensor*> by_name(const StoredGroup& group);

/// The text of the manifest; of the file that holds `values`, whose name is values_file(generation), it has the
/// checksum.
std::string manifest_text(const Contents& contents);
std::string values_file(const std::string& generation);
/// The text of Hugging Face's index of the group "model".
std::string index_text(const Contents& contents);

/// Reads a folder's manifest, else Hugging Face's index or single file, and the headers of all files, and compares all
/// that they say. Begins anew where a save replaces them meanwhile. Raises ValueError naming the file and what is wrong
/// with it; RuntimeError for what cannot be read.
Contents read_contents(const std::string& folder);

}  // namespace weft::checkpoint
