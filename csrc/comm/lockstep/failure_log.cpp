#include "comm/lockstep/failure_log.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include <sstream>

namespace weft::comm {
namespace {

constexpr const char* kPrefix = "weft/failures";
constexpr std::chrono::milliseconds kConnecting{1500};
constexpr std::chrono::milliseconds kTimeout{3000};  // the store's file may have been removed

std::string to_text(const FailureLog::Entry& e) {
  const Failure& f = e.failure;
  return c10::str(e.writer, ' ', int{e.parted}, ' ', f.rank, ' ', f.collectives, '\n', f.op, '\n', f.type, '\n',
                  f.message);
}

// Nothing where no rank can have written it.
std::optional<FailureLog::Entry> from_text(const std::string& text, int64_t ranks) {
  FailureLog::Entry e;
  Failure& f = e.failure;
  int parted = 0;
  std::istringstream in(text);
  if (!(in >> e.writer >> parted >> f.rank >> f.collectives) || in.get() != '\n') return std::nullopt;
  std::getline(in, f.op);
  std::getline(in, f.type);
  std::getline(in, f.message, '\0');
  e.parted = parted == 1;
  const bool possible = e.writer >= 0 && e.writer < ranks && (parted == 0 || parted == 1) && f.rank >= -1 &&
                        f.rank < ranks && f.collectives >= 0 && !f.message.empty();
  return possible ? std::make_optional(std::move(e)) : std::nullopt;
}

// Shows a text that may be anything.
std::string shown(const std::string& text) {
  constexpr size_t kLongest = 60;
  std::string out;
  for (char c : text.substr(0, kLongest)) out += c >= ' ' && c <= '~' ? c : '?';
  return text.size() > kLongest ? out + "..." : out;
}

constexpr const char* kStore = "the job's store";
constexpr char kEndOfCollectives = '\x1e';

}  // namespace

std::string Failure::str() const {
  return rank < 0 ? message : c10::str("[", op, "] failed on rank ", rank, ": ", message);
}

FailureLog::FailureLog(const c10::intrusive_ptr<c10d::Store>& store, int64_t ranks, TimedCalls& calls)
    : ranks_(ranks), patience_(store->getTimeout()), calls_(calls) {
  // A connection of its own: another thread may be waiting in the world's. Not waited for as long as that one was,
  // since the process that keeps the store may be the one that has ended.
  store->setTimeout(kConnecting);
  try {
    store_ = c10::make_intrusive<c10d::PrefixStore>(
        kPrefix, calls_.within(kConnecting, kStore, [store] { return store->clone(); }));
  } catch (...) {
    store->setTimeout(patience_);
    throw;
  }
  store->setTimeout(patience_);
  store_->setTimeout(kTimeout);
}

void FailureLog::write(const Entry& entry) {
  calls_.within(kTimeout, kStore, [store = store_, text = to_text(entry)] {
    store->set(std::to_string(store->add("count", 1)), text);
    return true;
  });
}

std::optional<std::string> FailureLog::value(const std::string& key) {
  return calls_.within(kTimeout, kStore, [store = store_, key]() -> std::optional<std::string> {
    if (!store->check({key})) return std::nullopt;
    return store->get_to_str(key);
  });
}

int64_t FailureLog::add(const std::string& key, int64_t n) {
  return calls_.within(kTimeout, kStore, [store = store_, key, n] { return store->add(key, n); });
}

std::optional<FailureLog::Entry> FailureLog::read() {
  const std::string key = std::to_string(next_);
  const std::optional<std::string> found = value(key);
  if (!found) return std::nullopt;
  ++next_;
  const std::string& text = *found;
  if (auto entry = from_text(text, ranks_)) return entry;
  Entry entry;
  entry.writer = -1;
  entry.parted = true;
  entry.failure = {.rank = -1,
                   .type = "RuntimeError",
                   .message = c10::str("the store's value under the key '", kPrefix, '/', key,
                                       "' was not written by Weft: '", shown(text), "'")};
  return entry;
}

void FailureLog::write_calls(int64_t rank, const Calls& calls) {
  calls_.within(
      kTimeout, kStore,
      [store = store_, key = c10::str("calls/", rank), text = calls.collectives + kEndOfCollectives + calls.ops] {
        store->set(key, text);
        return true;
      });
}

FailureLog::Calls FailureLog::calls_of(int64_t rank) {
  const std::string text = value(c10::str("calls/", rank)).value_or("");
  const size_t end = text.find(kEndOfCollectives);
  if (end == std::string::npos) return {};
  return {text.substr(0, end), text.substr(end + 1)};
}

bool FailureLog::first_to_see_difference() { return add("difference", 1) == 1; }

void FailureLog::come_to(int64_t meeting) { add(c10::str("meeting/", meeting), 1); }

int64_t FailureLog::have_come_to(int64_t meeting) { return add(c10::str("meeting/", meeting), 0); }

}  // namespace weft::comm
