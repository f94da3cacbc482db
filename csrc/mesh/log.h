#pragma once
// Messages to the user: WEFT_LOG=error|warning|info|debug (default warning); KERAS_DISTRIBUTION_DEBUG=1 means debug.
// Written to stderr, each line prefixed with the rank, one write per message so that ranks do not mix lines. Not c10's
// LOG: that one is filtered by TORCH_CPP_LOG_LEVEL, which hides info and debug by default.
#include <c10/util/StringUtil.h>
#include <weft/export.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

namespace weft {

enum class LogLevel : int { error = 0, warning = 1, info = 2, debug = 3 };
const char* to_string(LogLevel level);

namespace log_detail {
constexpr int kUnread = 100;  // above every level: the first question reads the environment
inline std::atomic<int> threshold{kUnread};
bool on_after_reading(LogLevel level);
void emit(LogLevel level, const std::string& message);
bool first_time(std::string_view key);
}  // namespace log_detail

/// Whether messages of that level are shown. One load and one compare where they are not.
inline bool log_on(LogLevel level) {
  const int threshold = log_detail::threshold.load(std::memory_order_relaxed);
  if (static_cast<int>(level) > threshold) [[likely]]
    return false;
  return threshold != log_detail::kUnread || log_detail::on_after_reading(level);
}

/// Formats (as c10::str) and shows a message if its level is on. Where the arguments themselves cost something, ask
/// log_on first.
template <class... Args>
void log(LogLevel level, const Args&... args) {
  if (log_on(level)) log_detail::emit(level, c10::str(args...));
}

/// A warning shown once per context for each key; formatted only then.
template <class... Args>
void warn_once(std::string_view key, const Args&... args) {
  if (log_on(LogLevel::warning) && log_detail::first_time(key)) {
    log_detail::emit(LogLevel::warning, c10::str(args...));
  }
}

/// Wins over the environment.
void set_log_level(LogLevel level);
/// Back to what the environment says now.
void reset_log_level();

/// Takes messages (without prefix) in place of stderr; called on the thread that logs, with none of Weft's locks held
/// by the logging itself. Null: stderr again.
using LogSink = void (*)(int level, int64_t rank, const char* message);
void set_log_sink(LogSink sink);

}  // namespace weft

/// set_log_sink for callers without C++ (Python's ctypes): levels 0 error, 1 warning, 2 info, 3 debug.
extern "C" WEFT_API void weft_set_log_sink(void (*sink)(int level, int64_t rank, const char* message));
