#include "mesh/log.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <unistd.h>
#include <unordered_set>

#include "mesh/context.h"

namespace weft {
namespace {

constexpr const char* kNames[] = {"error", "warning", "info", "debug"};
constexpr size_t kMaxKeys = 10000;  // of warnings given once: a key made of user data must not grow without end

std::atomic<LogSink> sink{nullptr};

std::string lower(const char* text) {
  std::string out = text;
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// The level that the environment asks for, and what is wrong with it.
LogLevel from_environment(std::string& complaint) {
  LogLevel level = LogLevel::warning;
  if (const char* text = std::getenv("WEFT_LOG"); text != nullptr && *text != '\0') {
    const auto* name = std::find(std::begin(kNames), std::end(kNames), lower(text));
    if (name != std::end(kNames)) {
      level = static_cast<LogLevel>(name - std::begin(kNames));
    } else {
      complaint =
          c10::str("[W009] WEFT_LOG=", text, " is not a level; known: error, warning, info, debug. Using warning");
    }
  }
  if (const char* text = std::getenv("KERAS_DISTRIBUTION_DEBUG"); text != nullptr) {
    const std::string value = lower(text);
    if (value == "1" || value == "true" || value == "yes" || value == "on") {
      level = LogLevel::debug;
    } else if (!value.empty() && value != "0" && value != "false" && value != "no" && value != "off") {
      complaint += c10::str(complaint.empty() ? "" : "\n", "[W009] KERAS_DISTRIBUTION_DEBUG=", text,
                            " is neither 0 nor 1. Ignored");
    }
  }
  return level;
}

void read_environment() {
  static std::mutex mutex;
  std::string complaint;
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (log_detail::threshold.load() != log_detail::kUnread) return;
    const LogLevel level = from_environment(complaint);
    int unread = log_detail::kUnread;
    log_detail::threshold.compare_exchange_strong(unread, static_cast<int>(level));
  }
  if (!complaint.empty()) log_detail::emit(LogLevel::warning, complaint);
}

struct Given : ContextState {
  std::mutex mutex;
  std::unordered_set<std::string> keys;
};

void write_all(const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) return;  // nobody is there to be told
    if (n > 0) done += static_cast<size_t>(n);
  }
}

}  // namespace

const char* to_string(LogLevel level) { return kNames[static_cast<int>(level)]; }

namespace log_detail {

bool on_after_reading(LogLevel level) {
  read_environment();
  return static_cast<int>(level) <= threshold.load();
}

void emit(LogLevel level, const std::string& message) {
  const int64_t rank = context().rank();
  if (const LogSink to = sink.load()) {
    to(static_cast<int>(level), rank, message.c_str());
    return;
  }
  const std::string prefix = c10::str("[weft rank ", rank, "] ", to_string(level), ": ");
  std::string text;
  for (size_t start = 0; start <= message.size();) {
    const size_t end = std::min(message.find('\n', start), message.size());
    if (start == message.size() && start > 0) break;  // a newline at the end starts no line
    text += prefix + message.substr(start, end - start) + "\n";
    start = end + 1;
  }
  write_all(text);
}

bool first_time(std::string_view key) {
  Given& given = context().state<Given>();
  std::lock_guard<std::mutex> lock(given.mutex);
  return given.keys.size() < kMaxKeys && given.keys.emplace(key).second;
}

}  // namespace log_detail

void set_log_level(LogLevel level) { log_detail::threshold.store(static_cast<int>(level)); }
void reset_log_level() { log_detail::threshold.store(log_detail::kUnread); }
void set_log_sink(LogSink to) { sink.store(to); }

}  // namespace weft

extern "C" void weft_set_log_sink(void (*to)(int, int64_t, const char*)) { weft::set_log_sink(to); }
