#pragma once
// Files of a checkpoint. Errors are RuntimeErrors that name the file and the system's reason.
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace weft::checkpoint {

class File {
 public:
  static File open_to_read(const std::string& path);
  static File open_to_write(const std::string& path);
  /// A new file of that size, whose room on the disk is taken at once where the file system can.
  static File create(const std::string& path, int64_t size);
  File(File&& other) noexcept;
  File& operator=(File&&) = delete;
  ~File();

  int64_t size() const;
  /// Raises where the file ends before.
  void read(void* to, int64_t length, int64_t offset) const;
  void write(const void* from, int64_t length, int64_t offset) const;
  /// Has the system begin to write what is in its memory of these bytes. A hint.
  void start_writing(int64_t offset, int64_t length) const noexcept;
  void sync() const;
  const std::string& path() const { return path_; }

 private:
  File(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  [[noreturn]] void fail(const char* what) const;

  int descriptor_;
  std::string path_;
};

/// All are on the disk then.
void sync_files(c10::ArrayRef<File> files);
/// Makes what was made, renamed and removed in the folder last.
void sync_folder(const std::string& folder);
/// Texts that take their files' places one after the other, each in one step, once all are on the disk. On return that
/// lasts.
void replace_files(const std::string& folder, const std::vector<std::pair<std::string, std::string>>& texts_by_name);
/// The text of a file of at most `limit` bytes. Raises ValueError for a longer one.
std::string read_text(const std::string& path, int64_t limit);
bool exists(const std::string& path);
/// The path from the root on, which leads to the same place wherever the program goes later (chdir).
std::string absolute(const std::string& path);

}  // namespace weft::checkpoint
