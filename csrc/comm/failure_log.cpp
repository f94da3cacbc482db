#include "comm/failure_log.h"

#include <c10/util/StringUtil.h>

#include <sstream>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

namespace weft::comm {
namespace {

constexpr const char* kPrefix = "weft/failures";
constexpr std::chrono::milliseconds kConnecting{2000};
constexpr std::chrono::milliseconds kTimeout{5000};  // the store's file may have been removed

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

// Of a text that may be anything.
std::string shown(const std::string& text) {
  constexpr size_t kLongest = 60;
  std::string out;
  for (char c : text.substr(0, kLongest)) out += c >= ' ' && c <= '~' ? c : '?';
  return text.size() > kLongest ? out + "..." : out;
}

constexpr char kEndOfCollectives = '\x1e';

}  // namespace

std::string Failure::str() const {
  return rank < 0 ? message : c10::str("[", op, "] failed on rank ", rank, ": ", message);
}

FailureLog::FailureLog(c10d::Store& store, int64_t ranks) : ranks_(ranks), patience_(store.getTimeout()) {
  // A connection of its own: another thread may be waiting in the world's. Not waited for as long as that one was, since
  // the process that keeps the store may be the one that has ended.
  store.setTimeout(kConnecting);
  try {
    store_ = c10::make_intrusive<c10d::PrefixStore>(kPrefix, store.clone());
  } catch (...) {
    store.setTimeout(patience_);
    throw;
  }
  store.setTimeout(patience_);
  store_->setTimeout(kTimeout);
}

void FailureLog::write(const Entry& entry) { store_->set(std::to_string(store_->add("count", 1)), to_text(entry)); }

std::optional<FailureLog::Entry> FailureLog::read() {
  const std::string key = std::to_string(next_);
  if (!store_->check({key})) return std::nullopt;
  ++next_;
  const std::string text = store_->get_to_str(key);
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
  store_->set(c10::str("calls/", rank), calls.collectives + kEndOfCollectives + calls.ops);
}

FailureLog::Calls FailureLog::calls_of(int64_t rank) {
  const std::string key = c10::str("calls/", rank);
  if (!store_->check({key})) return {};
  const std::string text = store_->get_to_str(key);
  const size_t end = text.find(kEndOfCollectives);
  if (end == std::string::npos) return {};
  return {text.substr(0, end), text.substr(end + 1)};
}

bool FailureLog::first_to_see_difference() { return store_->add("difference", 1) == 1; }

void FailureLog::come_to(int64_t meeting) { store_->add(c10::str("meeting/", meeting), 1); }

int64_t FailureLog::have_come_to(int64_t meeting) { return store_->add(c10::str("meeting/", meeting), 0); }

}  // namespace weft::comm
