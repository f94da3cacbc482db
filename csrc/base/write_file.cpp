#include "base/write_file.h"

#include <c10/util/Exception.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/quote.h"

namespace weft {
namespace {

// 0, or the system's number of what went wrong.
int write_all(const std::string& path, int flags, std::string_view content) {
  const int descriptor = ::open(path.c_str(), flags | O_WRONLY | O_CLOEXEC, 0666);
  if (descriptor < 0) return errno;
  int error = 0;
  while (!content.empty() && error == 0) {
    const ssize_t n = ::write(descriptor, content.data(), content.size());
    if (n >= 0) {
      content.remove_prefix(static_cast<size_t>(n));
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (::close(descriptor) != 0 && error == 0) error = errno;
  return error;
}

// Where links end; the path itself where nothing is there yet.
std::string resolved(const std::string& path) {
  char* const found = ::realpath(path.c_str(), nullptr);
  std::string out = found == nullptr ? path : found;
  std::free(found);
  return out;
}

int replace(const std::string& path, std::string_view content) {
  // Ranks may write to one path at the same time; each makes a file of its own and puts it in place.
  const std::string draft = path + "." + std::to_string(::getpid()) + ".new";
  int error = write_all(draft, O_CREAT | O_TRUNC, content);
  if (error == 0 && std::rename(draft.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) ::unlink(draft.c_str());
  return error;
}

}  // namespace

void write_file(const std::string& path, std::string_view content) {
  const bool is_name = path.find('\0') == std::string::npos;
  struct stat facts{};
  const bool is_special = is_name && ::stat(path.c_str(), &facts) == 0 && !S_ISREG(facts.st_mode);
  const int error = !is_name ? EINVAL : is_special ? write_all(path, 0, content) : replace(resolved(path), content);
  TORCH_CHECK_VALUE(error == 0, "[W110] cannot write ", quote(path), ": ", std::strerror(error));
}

}  // namespace weft
