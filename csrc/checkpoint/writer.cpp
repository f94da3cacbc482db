#include "checkpoint/writer.h"

#include <ATen/ATen.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <sys/stat.h>

#include "base/quote.h"
#include "checkpoint/crc32c.h"
#include "checkpoint/file.h"
#include "checkpoint/safetensors.h"
#include "paths/json_reader.h"
#include "tensor/below_autograd.h"

namespace weft::checkpoint {
namespace {

constexpr int64_t kFileBytes = 5'000'000'000;  // from which on another file is begun, as Hugging Face's libraries do
constexpr int64_t kBlock = 8 << 20;            // bytes that are copied to write them
constexpr int64_t kWritten = 1 << 20;          // bytes that are still in the cache when they are written
constexpr int64_t kUnderWay = 8 << 20;         // bytes from which on the disk begins with them
constexpr size_t kGenerationDigits = 16;
constexpr std::string_view kIndexDraft = "index", kManifestDraft = "manifest";
constexpr std::string_view kGroups[] = {"model",  "optimizer", "extra",  // in files' names
                                        "random", "values",    kIndexDraft, kManifestDraft};

// "model-0123456789abcdef-00001-of-00002.safetensors" -> "0123456789abcdef"; empty: not a file of a save.
std::string generation_of(const std::string& name) {
  const size_t begin = name.find('-') + 1;
  if (begin == 0 || name.size() < begin + kGenerationDigits) return {};
  const std::string group = name.substr(0, begin - 1);
  if (std::find(std::begin(kGroups), std::end(kGroups), group) == std::end(kGroups)) return {};
  const std::string digits = name.substr(begin, kGenerationDigits), rest = name.substr(begin + kGenerationDigits);
  if (digits.find_first_not_of("0123456789abcdef") != std::string::npos) return {};
  const bool data = rest.starts_with("-") && rest.ends_with(".safetensors");
  return data || rest == ".json" ? digits : std::string();
}

// But what Hugging Face's index names: a save that was killed may have replaced it, and not the manifest.
void remove_generations(const std::string& folder, c10::function_ref<bool(const std::string&)> doomed) {
  std::error_code ignored;
  const std::string path = folder + "/" + kIndex;
  std::string index;
  try {
    if (exists(path)) index = read_text(path, kLongestText);
  } catch (const std::exception&) {
    return;  // a later save removes them
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string generation = generation_of(entry.path().filename().string());
    if (generation.empty() || !doomed(generation) || index.find('-' + generation + '-') != std::string::npos) continue;
    std::filesystem::remove(entry.path(), ignored);
  }
}

// The generation of the checkpoint that is in the folder; empty: there is none. None: there is something that cannot be
// read.
std::optional<std::string> kept_generation(const std::string& folder) {
  const std::string path = folder + "/" + kManifest;
  if (!exists(path)) return "";
  try {
    const std::string text = read_text(path, kLongestText);
    const JsonValue root = parse_json(text, path, {.bytes = text.size(), .depth = 8, .values = text.size()});
    return JsonReader{text, path}.need(root, "generation", JsonValue::string).text;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

// This rank's files, and the checksums of what it writes into them.
class Writer {
 public:
  Writer(const std::string& folder, const Contents& contents) : folder_(folder), contents_(contents) {}

  void write(const Piece& piece) {
    const StoredTensor& tensor = contents_.groups[piece.group].tensors[piece.tensor];
    const auto element = static_cast<int64_t>(c10::elementSize(tensor.dtype));
    PartialCrc& crc = crcs_[{piece.group, piece.tensor}];
    const File& to = file(tensor.file);
    const auto put = [&](const at::Tensor& elements, int64_t first) {
      const int64_t begin = std::max(first, piece.share.first);
      const int64_t end = std::min(first + elements.numel(), piece.share.first + piece.share.count);
      if (begin >= end) return;
      const auto* bytes = static_cast<const char*>(elements.const_data_ptr());
      piece.box.runs(begin, end - begin, [&](const Box::Run& run) {
        for (int64_t done = 0, length = run.length * element; done < length; done += kWritten) {
          const int64_t n = std::min(kWritten, length - done), position = run.full * element + done;
          const char* from = bytes + (run.part - first) * element + done;
          crc.add(position, from, n);
          to.write(from, n, tensor.offset + position);
          begin_writing(to, tensor.offset + position, n);
        }
      });
    };
    const BelowAutograd guard;
    if (piece.elements.is_cpu() && piece.elements.is_contiguous()) return put(piece.elements, piece.first);
    blocks(piece.elements, kBlock,
           [&](const Block& block) { put(block.elements.cpu().contiguous(), piece.first + block.first); });
  }

  /// What this rank has written; or all, also what others have.
  void sync(bool all) {
    for (size_t i = 0; all && i < contents_.files.size(); ++i) file(i);
    std::vector<File> files;
    if (all) files.push_back(File::open_to_write(folder_ + "/" + values_file(contents_.generation)));
    for (auto& [number, file] : files_) files.push_back(std::move(file));
    files_.clear();
    sync_files(files);
  }

  /// What this rank's parts add to each tensor's checksum, in order.
  std::string checksums() {
    std::string out;
    for (size_t g = 0; g < contents_.groups.size(); ++g) {
      for (size_t t = 0; t < contents_.groups[g].tensors.size(); ++t) {
        const uint32_t crc = crcs_[{g, t}].finish(contents_.groups[g].tensors[t].bytes);
        out.append(reinterpret_cast<const char*>(&crc), sizeof crc);
      }
    }
    return out;
  }

 private:
  const File& file(size_t number) {
    auto it = files_.find(number);
    if (it == files_.end()) {
      it = files_.emplace(number, File::open_to_write(folder_ + "/" + contents_.files[number].name)).first;
    }
    return it->second;
  }

  // The disk works while the rest is put together; pieces of a file come one after the other.
  void begin_writing(const File& to, int64_t offset, int64_t length) {
    if (&to != waiting_.file) waiting_ = {&to, offset, offset, 0};
    waiting_.end = offset + length;
    if ((waiting_.bytes += length) < kUnderWay) return;
    to.start_writing(waiting_.begin, waiting_.end - waiting_.begin);
    waiting_ = {};
  }

  const std::string& folder_;
  const Contents& contents_;
  std::map<size_t, File> files_;
  struct {
    const File* file = nullptr;
    int64_t begin = 0, end = 0, bytes = 0;
  } waiting_;
  std::map<std::pair<size_t, size_t>, PartialCrc> crcs_;
};

void put_together(Contents& contents, const std::vector<std::string>& parts) {
  size_t at = 0;
  for (StoredGroup& group : contents.groups) {
    for (StoredTensor& tensor : group.tensors) {
      uint32_t sum = 0;
      for (const std::string& part : parts) {
        uint32_t crc = 0;
        std::memcpy(&crc, part.data() + at, sizeof crc);
        sum ^= crc;
      }
      at += sizeof sum;
      tensor.crc = from_zero_begun(sum, tensor.bytes);
    }
  }
}

// Makes the files with their headers, and removes what saves that were killed have left in the folder.
void prepare(const std::string& folder, const Contents& contents) {
  if (const auto kept = kept_generation(folder)) {
    remove_generations(folder, [&](const std::string& other) { return other != *kept; });
  }
  for (const StoredFile& file : contents.files) {
    const File made = File::create(folder + "/" + file.name, file.bytes);
    made.write(file.header.data(), static_cast<int64_t>(file.header.size()), 0);
  }
  const auto size = static_cast<int64_t>(contents.values.size());
  const File values = File::create(folder + "/" + values_file(contents.generation), size);
  values.write(contents.values.data(), size, 0);
}

// Where the file system has no locks another program's save may have taken this one's files for those of a killed one.
void check_all_there(const std::string& folder, const Contents& contents) {
  std::vector<std::string> names{values_file(contents.generation)};
  for (const StoredFile& file : contents.files) names.push_back(file.name);
  for (const std::string& name : names) {
    TORCH_CHECK(exists(folder + "/" + name), "[W110] ", quote(name), " in ", quote(folder),
                " was removed while the save went on; let one program at a time save into a folder");
  }
}

void commit(const std::string& folder, const Contents& contents) {
  const auto draft = [&](std::string_view what) { return c10::str(what, '-', contents.generation, ".json"); };
  sync_folder(folder);
  check_all_there(folder, contents);
  replace_files(folder, {{kIndex, draft(kIndexDraft), index_text(contents)},
                         {kManifest, draft(kManifestDraft), manifest_text(contents)}});
  remove_generations(folder, [&](const std::string& other) { return other != contents.generation; });
}

}  // namespace

Piece piece_of(size_t group, size_t tensor, const at::Tensor& part, const Box& box, const Share& share) {
  const BelowAutograd guard;
  Piece piece{group, tensor, box, share, part.resolve_conj().resolve_neg(), 0};
  if (piece.elements.is_contiguous()) {
    piece.elements = piece.elements.view(-1).narrow(0, share.first, share.count);
    piece.first = share.first;
  }
  return piece;
}

void lay_out_files(Contents& contents) {
  for (StoredGroup& group : contents.groups) {
    std::vector<std::vector<StoredTensor*>> files;
    int64_t bytes = 0;
    for (StoredTensor& tensor : group.tensors) {
      auto more = static_cast<int64_t>(c10::elementSize(tensor.dtype));
      for (int64_t size : tensor.shape) more *= size;
      if (files.empty() || (bytes > 0 && bytes + more > kFileBytes)) {
        files.emplace_back();
        bytes = 0;
      }
      bytes += more;
      tensor.file = contents.files.size() + files.size() - 1;
      files.back().push_back(&tensor);
    }
    for (size_t i = 0; i < files.size(); ++i) {
      char number[32];
      std::snprintf(number, sizeof number, "-%05zu-of-%05zu", i + 1, files.size());
      StoredFile file{.name = group.name + "-" + contents.generation + number + ".safetensors"};
      file.header = lay_out_file(files[i]);
      file.header_crc = crc32c(file.header);
      file.bytes = static_cast<int64_t>(file.header.size());
      for (const StoredTensor* tensor : files[i]) file.bytes += tensor->bytes;
      contents.files.push_back(std::move(file));
    }
  }
}

bool make_folder(const std::string& folder) {
  const bool made = ::mkdir(folder.c_str(), 0777) == 0;
  if (!made) {
    const int error = errno;
    struct stat facts{};
    const bool there = error == EEXIST && ::stat(folder.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode);
    TORCH_CHECK(there, "[W110] cannot make the folder ", quote(folder), ": ", std::strerror(error));
  }
  TORCH_CHECK_VALUE(!exists(folder + "/" + kSingle), "[W118] save: ", quote(folder), " holds ", kSingle,
                    ", which Hugging Face's loaders would go on reading; save into another folder, or remove it");
  return made;
}

void write(const std::string& folder, Contents contents, const Pieces& pieces, int64_t rank, const Exchange& exchange) {
  std::optional<FolderLock> lock;
  try {
    together(exchange, [&] {
      lay_out_files(contents);
      if (rank == 0) {
        lock.emplace(folder);
        prepare(folder, contents);
      }
      return std::string();
    });
    const auto parts = together(exchange, [&] {
      Writer writer(folder, contents);
      // All pieces are asked for, also after an error: each may take a collective.
      std::exception_ptr error;
      pieces([&](const Piece& piece) {
        if (error) return;
        try {
          writer.write(piece);
        } catch (...) {
          error = std::current_exception();
        }
      });
      if (error) std::rethrow_exception(error);
      writer.sync(rank == 0);
      return writer.checksums();
    });
    put_together(contents, parts);
    together(exchange, [&] {
      if (rank == 0) commit(folder, contents);
      return std::string();
    });
  } catch (...) {
    if (rank == 0 && kept_generation(folder) != contents.generation) discard(folder, contents.generation);
    throw;
  }
}

void discard(const std::string& folder, const std::string& generation) noexcept {
  try {
    remove_generations(folder, [&](const std::string& other) { return other == generation; });
  } catch (...) {  // what is left over the next save removes
  }
}

}  // namespace weft::checkpoint
