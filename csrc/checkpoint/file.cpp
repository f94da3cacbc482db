#include "checkpoint/file.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "base/quote.h"

namespace weft::checkpoint {
namespace {

[[noreturn]] void raise(const char* what, const std::string& path, int error) {
  TORCH_CHECK(false, "[W110] cannot ", what, " ", quote(path), ": ", std::strerror(error));
}

// A call of the system's that signals do not disturb. Repeating an interrupted one is not enough: tmpfs may give back
// all that fallocate has taken so far, so that with a timer's signals it would never end.
template <class Call>
int undisturbed(const Call& call) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  int result = 0;
  do {
    result = call();
  } while (result != 0 && errno == EINTR);
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return result;
}

int open_file(const std::string& path, int flags, const char* what) {
  int descriptor = -1;
  do {
    descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  } while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) raise(what, path, errno);
  return descriptor;
}

}  // namespace

File File::open_to_read(const std::string& path) { return {open_file(path, O_RDONLY | O_NONBLOCK, "read"), path}; }

File File::open_to_write(const std::string& path) { return {open_file(path, O_WRONLY, "write"), path}; }

File File::create(const std::string& path, int64_t size) {
  File file(open_file(path, O_WRONLY | O_CREAT | O_TRUNC, "make"), path);
  // Disks that are too full are found out here, before anything is written.
  if (size > 0 && undisturbed([&] { return ::fallocate(file.descriptor_, 0, 0, size); }) != 0) {
    if (errno != EOPNOTSUPP && errno != ENOSYS) file.fail("make");
    if (undisturbed([&] { return ::ftruncate(file.descriptor_, size); }) != 0) file.fail("make");
  }
  return file;
}

File::File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void File::fail(const char* what) const { raise(what, path_, errno); }

int64_t File::size() const {
  struct stat facts{};
  if (::fstat(descriptor_, &facts) != 0) fail("read");
  TORCH_CHECK(S_ISREG(facts.st_mode), "[W110] cannot read ", quote(path_), ": it is no file");
  return facts.st_size;
}

void File::read(void* to, int64_t length, int64_t offset) const {
  auto* next = static_cast<char*>(to);
  while (length > 0) {
    const ssize_t n = ::pread(descriptor_, next, static_cast<size_t>(length), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("read");
    TORCH_CHECK_VALUE(n > 0, "[W112] ", quote(path_), " ends at byte ", offset,
                      ", in the midst of what it should hold");
    next += n;
    offset += n;
    length -= n;
  }
}

void File::write(const void* from, int64_t length, int64_t offset) const {
  const auto* next = static_cast<const char*>(from);
  while (length > 0) {
    const ssize_t n = ::pwrite(descriptor_, next, static_cast<size_t>(length), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write");
    next += n;
    offset += n;
    length -= n;
  }
}

void File::start_writing([[maybe_unused]] int64_t offset, [[maybe_unused]] int64_t length) const noexcept {
#ifdef SYNC_FILE_RANGE_WRITE
  ::sync_file_range(descriptor_, offset, length, SYNC_FILE_RANGE_WRITE);
#endif
}

void File::sync() const {
  if (undisturbed([&] { return ::fsync(descriptor_); }) != 0) fail("write");
}

FolderLock::FolderLock(const std::string& folder) : descriptor_(open_file(folder, O_RDONLY | O_DIRECTORY, "open")) {
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(descriptor_);
  TORCH_CHECK(false, "[W110] cannot save into ", quote(folder),
              ": another program is saving into it; wait until that has ended, or save into another folder");
}

FolderLock::~FolderLock() {
  ::flock(descriptor_, LOCK_UN);  // processes that were forked meanwhile have the descriptor too
  ::close(descriptor_);
}

void sync_files(c10::ArrayRef<File> files) {
  for (const File& file : files) file.start_writing(0, 0);
  for (const File& file : files) file.sync();
}

void sync_folder(const std::string& folder) {
  const int descriptor = open_file(folder, O_RDONLY | O_DIRECTORY, "open");
  const bool synced = undisturbed([&] { return ::fsync(descriptor); }) == 0;
  const int error = synced || errno == EINVAL ? 0 : errno;  // EINVAL: it does not need to be
  ::close(descriptor);
  if (error != 0) raise("write", folder, error);
}

void replace_files(const std::string& folder, const std::vector<NewText>& files) {
  std::vector<File> drafts;
  for (const NewText& file : files) {
    const auto size = static_cast<int64_t>(file.text.size());
    drafts.push_back(File::create(folder + "/" + file.draft, size));
    drafts.back().write(file.text.data(), size, 0);
  }
  sync_files(drafts);
  for (const NewText& file : files) {
    const std::string path = folder + "/" + file.name;
    if (std::rename((folder + "/" + file.draft).c_str(), path.c_str()) != 0) raise("write", path, errno);
  }
  sync_folder(folder);
}

std::string read_text(const std::string& path, int64_t limit) {
  const File file = File::open_to_read(path);
  const int64_t size = file.size();
  TORCH_CHECK_VALUE(size <= limit, "[W112] ", quote(path), " has ", size, " bytes, more than the ", limit,
                    " that are read");
  std::string text(static_cast<size_t>(size), '\0');
  file.read(text.data(), size, 0);
  return text;
}

bool exists(const std::string& path) {
  struct stat facts{};
  return ::stat(path.c_str(), &facts) == 0;
}

std::string absolute(const std::string& path) {
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::absolute(path, error);
  return error ? path : whole.string();  // no path, or no working directory: who opens it says so
}

}  // namespace weft::checkpoint
