#include "comm/failure_log.h"

#include <c10/util/StringUtil.h>

#include <sstream>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

namespace weft::comm {
namespace {

constexpr std::chrono::milliseconds kTimeout{5000};  // the store's file may have been removed

std::string to_text(const FailureLog::Entry& e) {
  const Failure& f = e.failure;
  return c10::str(e.writer, ' ', int{e.parted}, ' ', f.rank, ' ', f.collectives, '\n', f.op, '\n', f.type, '\n',
                  f.message);
}

FailureLog::Entry from_text(const std::string& text) {
  FailureLog::Entry e;
  Failure& f = e.failure;
  std::istringstream in(text);
  in >> e.writer >> e.parted >> f.rank >> f.collectives;
  in.ignore();
  std::getline(in, f.op);
  std::getline(in, f.type);
  std::getline(in, f.message, '\0');
  return e;
}

}  // namespace

std::string Failure::str() const {
  return rank < 0 ? message : c10::str("[", op, "] failed on rank ", rank, ": ", message);
}

FailureLog::FailureLog(c10d::Store& store) : patience_(store.getTimeout()) {
  // A connection of its own: another thread may be waiting in the world's.
  store_ = c10::make_intrusive<c10d::PrefixStore>("weft/failures", store.clone());
  store_->setTimeout(kTimeout);
}

void FailureLog::write(const Entry& entry) { store_->set(std::to_string(store_->add("count", 1)), to_text(entry)); }

std::optional<FailureLog::Entry> FailureLog::read() {
  const std::string key = std::to_string(next_);
  if (!store_->check({key})) return std::nullopt;
  ++next_;
  return from_text(store_->get_to_str(key));
}

void FailureLog::write_calls(int64_t rank, const std::string& text) { store_->set(c10::str("calls/", rank), text); }

std::string FailureLog::calls_of(int64_t rank) {
  const std::string key = c10::str("calls/", rank);
  return store_->check({key}) ? store_->get_to_str(key) : std::string();
}

bool FailureLog::first_to_see_difference() { return store_->add("difference", 1) == 1; }

void FailureLog::come_to(int64_t meeting) { store_->add(c10::str("meeting/", meeting), 1); }

int64_t FailureLog::have_come_to(int64_t meeting) { return store_->add(c10::str("meeting/", meeting), 0); }

}  // namespace weft::comm
