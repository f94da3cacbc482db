#pragma once
// Files of a checkpoint. Errors are RuntimeErrors that name the file and the system's reason.
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <string>
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

/// While it is there no other can be had of that folder, in any program of this machine, and of others where the file
/// system does that. One that has no locks gives everybody theirs.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder);
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();

 private:
  int descriptor_;
};

/// All are on the disk then.
void sync_files(c10::ArrayRef<File> files);
/// Makes what was made, renamed and removed in the folder last.
void sync_folder(const std::string& folder);
struct NewText {
  std::string name, draft;  // the file's name, and the one that it has until it is complete
  std::string text;
};
/// Texts that take their files' places one after the other, each in one step, once all are on the disk. On return that
/// lasts.
void replace_files(const std::string& folder, const std::vector<NewText>& files);
/// The text of a file of at most `limit` bytes. Raises ValueError for a longer one.
std::string read_text(const std::string& path, int64_t limit);
bool exists(const std::string& path);
/// The path from the root on, which leads to the same place wherever the program goes later (chdir).
std::string absolute(const std::string& path);

}  // namespace weft::checkpoint
