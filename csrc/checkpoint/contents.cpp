#include "checkpoint/contents.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>

#include "base/quote.h"
#include "checkpoint/crc32c.h"
#include "checkpoint/file.h"
#include "checkpoint/safetensors.h"
#include "paths/json_reader.h"

namespace weft::checkpoint {
namespace {

using nlohmann::ordered_json;

constexpr const char* kVersionKey = "weft_checkpoint";
constexpr int64_t kVersion = 1;
constexpr JsonLimits kManifestLimits{.bytes = kLongestText, .depth = 8, .values = 200'000'000};

std::string hexadecimal(uint32_t crc) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", crc);
  return text;
}

// An object's text, which ends with the checksum of all before it.
std::string sealed(std::string text) {
  const std::string crc = hexadecimal(crc32c(text));
  return text + "  \"crc32c\": \"" + crc + "\"\n}\n";
}

void check_seal(const std::string& text, const std::string& source) {
  const size_t length = sealed("").size();
  const bool intact = text.size() > length && sealed(text.substr(0, text.size() - length)) == text;
  TORCH_CHECK_VALUE(intact, "[W112] ", quote(source), " is damaged: its checksum is not that of its text");
}

uint32_t crc_from(const JsonReader& reader, const JsonValue& object, const char* key) {
  const JsonValue& value = reader.need(object, key, JsonValue::string);
  const std::string& text = value.text;
  const bool valid = text.size() == 8 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!valid) reader.fail(value, std::string("\"") + key + "\" must be eight hexadecimal digits");
  return static_cast<uint32_t>(std::stoul(text, nullptr, 16));
}

// A name in the folder, which leads nowhere else.
const std::string& file_name(const JsonReader& reader, const JsonValue& at, const std::string& name) {
  if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos || name == "." ||
      name == "..") {
    reader.fail(at, quote(name) + " is no name of a file in the folder");
  }
  return name;
}

// The tensors of a file that is in the folder and whole.
std::vector<StoredTensor> read_file(const std::string& folder, StoredFile& stored, size_t number) {
  stored.opened = std::make_shared<File>(File::open_to_read(folder + "/" + stored.name));
  std::string header;
  std::vector<StoredTensor> tensors = read_header(*stored.opened, header);
  stored.bytes = stored.opened->size();
  stored.header_crc = crc32c(header);
  for (StoredTensor& tensor : tensors) tensor.file = number;
  return tensors;
}

struct Manifest {
  const std::string folder, source;
  const std::string text;
  const JsonReader reader{text, source};
  Contents contents;
  std::unordered_map<std::string, size_t> file_numbers;

  Manifest(const std::string& folder, std::string given)
      : folder(folder), source(folder + "/" + kManifest), text(std::move(given)) {
    check_seal(text, source);
    const JsonValue root = parse_json(text, source, kManifestLimits);
    reader.expect(root, "a manifest", JsonValue::object);
    const JsonValue& version = reader.need(root, kVersionKey, JsonValue::integer);
    if (version.number != kVersion) {
      reader.fail(version, "this is version " + std::to_string(version.number) + " of the format; version " +
                               std::to_string(kVersion) + " is known");
    }
    contents.generation = reader.need(root, "generation", JsonValue::string).text;
    const JsonValue* step = root.member("step");
    if (step != nullptr && step->kind != JsonValue::null) {
      contents.step = reader.expect(*step, "\"step\"", JsonValue::integer).number;
    }
    contents.processes = reader.count(reader.need(root, "processes", JsonValue::integer), "\"processes\"");
    const auto& files = reader.need(root, "files", JsonValue::object).members;
    for (const auto& [name, entry] : files) {
      file_numbers.emplace(file_name(reader, entry, name), contents.files.size());
      contents.files.push_back({.name = name});
    }
    for (const auto& [name, group] : reader.need(root, "groups", JsonValue::object).members) read_group(name, group);
    for (size_t i = 0; i < files.size(); ++i) check_file(i, files[i].second);
    read_values(reader.need(root, "values", JsonValue::object));
  }

  void read_group(const std::string& name, const JsonValue& object) {
    reader.expect(object, "a group", JsonValue::object);
    StoredGroup group{.name = name};
    for (const auto& [tensor_name, entry] : reader.need(object, "tensors", JsonValue::object).members) {
      reader.expect(entry, "a tensor", JsonValue::object);
      StoredTensor tensor{.name = tensor_name};
      const JsonValue& file = reader.need(entry, "file", JsonValue::string);
      const auto number = file_numbers.find(file.text);
      if (number == file_numbers.end()) reader.fail(file, quote(file.text) + " is not among \"files\"");
      tensor.file = number->second;
      tensor.offset = reader.count(reader.need(entry, "offset", JsonValue::integer), "\"offset\"");
      tensor.layout = reader.need(entry, "layout", JsonValue::string).text;
      tensor.crc = crc_from(reader, entry, "crc32c");
      group.tensors.push_back(std::move(tensor));
    }
    for (const auto& [alias, entry] : reader.need(object, "aliases", JsonValue::object).members) {
      group.aliases.emplace_back(alias, reader.expect(entry, "an alias", JsonValue::string).text);
    }
    const auto named = by_name({.tensors = group.tensors});
    for (const auto& [alias, target] : group.aliases) {
      TORCH_CHECK_VALUE(named.contains(target) && !named.contains(alias), "[W112] ", quote(source), ": ", quote(alias),
                        " is another name of ", quote(target), ", which is not there");
    }
    contents.groups.push_back(std::move(group));
  }

  // Each tensor of the file is in one group, at the same place.
  void check_file(size_t number, const JsonValue& entry) {
    StoredFile& file = contents.files[number];
    reader.expect(entry, "a file", JsonValue::object);
    const int64_t bytes = reader.count(reader.need(entry, "bytes", JsonValue::integer), "\"bytes\"");
    const uint32_t crc = crc_from(reader, entry, "header_crc32c");
    std::vector<StoredTensor> held = read_file(folder, file, number);
    TORCH_CHECK_VALUE(file.bytes == bytes, "[W112] ", quote(file.name), " in ", quote(folder), " has ", file.bytes,
                      " bytes, the manifest says ", bytes);
    TORCH_CHECK_VALUE(file.header_crc == crc, "[W112] ", quote(file.name), " in ", quote(folder),
                      " is damaged: its header has not the checksum that the manifest says");
    std::unordered_map<std::string, StoredTensor*> known;
    for (StoredGroup& group : contents.groups) {
      for (StoredTensor& tensor : group.tensors) {
        if (tensor.file == number) known.emplace(tensor.name, &tensor);
      }
    }
    TORCH_CHECK_VALUE(known.size() == held.size(), "[W112] ", quote(source), " has ", known.size(), " tensors in ",
                      quote(file.name), ", which holds ", held.size());
    for (StoredTensor& tensor : held) {
      const auto it = known.find(tensor.name);
      TORCH_CHECK_VALUE(it != known.end() && it->second->offset == tensor.offset, "[W112] ", quote(source), " and ",
                        quote(file.name), " do not say the same of ", quote(tensor.name));
      it->second->dtype = tensor.dtype;
      it->second->shape = std::move(tensor.shape);
      it->second->bytes = tensor.bytes;
    }
  }

  void read_values(const JsonValue& entry) {
    const JsonValue& name = reader.need(entry, "file", JsonValue::string);
    const std::string path = folder + "/" + file_name(reader, name, name.text);
    contents.values = read_text(path, kLongestText);
    TORCH_CHECK_VALUE(crc32c(contents.values) == crc_from(reader, entry, "crc32c"), "[W112] ", quote(path),
                      " is damaged: it has not the checksum that the manifest says");
  }
};

// A folder as Hugging Face's libraries write it: model weights alone.
Contents read_hugging_face(const std::string& folder) {
  Contents contents;
  StoredGroup model{.name = "model"};
  const std::string single = folder + "/" + kSingle, source = folder + "/" + kIndex;
  if (exists(single)) {
    contents.files.push_back({.name = kSingle});
    model.tensors = read_file(folder, contents.files[0], 0);
  } else {
    const std::string text = read_text(source, kLongestText);
    const JsonValue root = parse_json(text, source, kManifestLimits);
    const JsonReader reader{text, source};
    reader.expect(root, "an index", JsonValue::object);
    std::unordered_map<std::string, size_t> numbers;
    std::unordered_map<std::string, std::string> file_of;
    for (const auto& [name, file] : reader.need(root, "weight_map", JsonValue::object).members) {
      reader.expect(file, "the file of " + quote(name), JsonValue::string);
      file_of[name] = file_name(reader, file, file.text);
      if (!numbers.emplace(file.text, contents.files.size()).second) continue;
      contents.files.push_back({.name = file.text});
    }
    for (size_t i = 0; i < contents.files.size(); ++i) {
      for (StoredTensor& tensor : read_file(folder, contents.files[i], i)) {
        const auto it = file_of.find(tensor.name);
        if (it == file_of.end() || it->second != contents.files[i].name) continue;  // its loaders pass it over too
        file_of.erase(it);
        model.tensors.push_back(std::move(tensor));
      }
    }
    TORCH_CHECK_VALUE(file_of.empty(), "[W112] ", quote(source), " says that ", quote(file_of.begin()->first),
                      " is in ", quote(file_of.begin()->second), ", which has no such tensor");
  }
  contents.groups.push_back(std::move(model));
  return contents;
}

std::optional<std::string> manifest_in(const std::string& folder) {
  const std::string path = folder + "/" + kManifest;
  return exists(path) ? std::make_optional(read_text(path, kLongestText)) : std::nullopt;
}

Contents read_as_told(const std::string& folder, const std::optional<std::string>& manifest) {
  if (manifest) {
    Contents contents = std::move(Manifest(folder, *manifest).contents);
    const std::string index = folder + "/" + kIndex;
    check_seal(read_text(index, kLongestText), index);
    return contents;
  }
  TORCH_CHECK_VALUE(exists(folder + "/" + kSingle) || exists(folder + "/" + kIndex), "[W111] ", quote(folder),
                    " holds no checkpoint: there is none of ", kManifest, ", ", kIndex, " and ", kSingle);
  return read_hugging_face(folder);
}

}  // namespace

const StoredGroup* Contents::group(const std::string& name) const {
  for (const StoredGroup& group : groups) {
    if (group.name == name) return &group;
  }
  return nullptr;
}

std::unordered_map<std::string, const StoredTensor*> by_name(const StoredGroup& group) {
  std::unordered_map<std::string, const StoredTensor*> named;
  for (const StoredTensor& tensor : group.tensors) named.emplace(tensor.name, &tensor);
  for (const auto& [alias, target] : group.aliases) {
    if (const auto it = named.find(target); it != named.end()) named.emplace(alias, it->second);
  }
  return named;
}

std::string values_file(const std::string& generation) { return "values-" + generation + ".json"; }

// One tensor a line.
std::string manifest_text(const Contents& contents) {
  std::string text = c10::str("{\n  \"", kVersionKey, "\": ", kVersion, ",\n  \"generation\": \"", contents.generation,
                              "\",\n  \"step\": ", contents.step ? std::to_string(*contents.step) : "null",
                              ",\n  \"processes\": ", contents.processes, ",\n  \"files\": {");
  const char* separator = "\n";
  const auto line = [&](const char* indent, const std::string& name, const ordered_json& value) {
    text += separator + (indent + ordered_json(name).dump()) + ": " + value.dump();
    separator = ",\n";
  };
  for (const StoredFile& file : contents.files) {
    line("    ", file.name, {{"bytes", file.bytes}, {"header_crc32c", hexadecimal(file.header_crc)}});
  }
  text += "\n  },\n  \"values\": " +
          ordered_json{{"file", values_file(contents.generation)}, {"crc32c", hexadecimal(crc32c(contents.values))}}
              .dump() +
          ",\n  \"groups\": {";
  const char* between = "\n";
  for (const StoredGroup& group : contents.groups) {
    text += between + ("    " + ordered_json(group.name).dump()) + ": {\n      \"tensors\": {";
    between = ",\n";
    separator = "\n";
    for (const StoredTensor& tensor : group.tensors) {
      line("        ", tensor.name,
           {{"dtype", safetensors_type(tensor.dtype)},
            {"shape", tensor.shape},
            {"layout", tensor.layout},
            {"file", contents.files[tensor.file].name},
            {"offset", tensor.offset},
            {"crc32c", hexadecimal(tensor.crc.value())}});
    }
    text += "\n      },\n      \"aliases\": {";
    separator = "\n";
    for (const auto& [alias, target] : group.aliases) line("        ", alias, target);
    text += "\n      }\n    }";
  }
  return sealed(text + "\n  },\n");
}

std::string index_text(const Contents& contents) {
  std::string map;
  int64_t bytes = 0;
  if (const StoredGroup* model = contents.group("model")) {
    for (const StoredTensor& tensor : model->tensors) {
      map += (map.empty() ? "\n    " : ",\n    ") + ordered_json(tensor.name).dump() + ": " +
             ordered_json(contents.files[tensor.file].name).dump();
      bytes += tensor.bytes;
    }
  }
  return sealed("{\n  \"metadata\": " + ordered_json{{"total_size", bytes}}.dump() + ",\n  \"weight_map\": {" + map +
                "\n  },\n");
}

Contents read_contents(const std::string& folder) {
  auto manifest = manifest_in(folder);
  for (int tries = 1;; ++tries) {
    try {
      return read_as_told(folder, manifest);
    } catch (const std::exception&) {
      // Its files are gone where a save has ended meanwhile.
      auto now = manifest_in(folder);
      if (tries == kTries || now == manifest) throw;
      manifest = std::move(now);
    }
  }
}

}  // namespace weft::checkpoint
