#include "checkpoint/team.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "base/error_codes.h"
#include "base/quote.h"
#include "checkpoint/process_end.h"
#include "checkpoint/store_errors.h"
#include "comm/agree/check_same.h"
#include "comm/agree/gather_same.h"
#include "comm/lockstep/error_types.h"
#include "mesh/context.h"

namespace weft::checkpoint {
namespace {

constexpr char kLost = '!';  // begins what rank 0 tells in place of all, where one of them has ended
constexpr size_t kWord = sizeof(int64_t);
constexpr size_t kShort = 4096 - kWord;                 // bytes
constexpr std::chrono::seconds kReading{10};            // what is there already
constexpr std::chrono::milliseconds kReadingSoon{500};  // by those that have not ended
constexpr std::chrono::seconds kSign{3};
constexpr std::chrono::seconds kSilence{30};  // after which a rank is taken to have ended
constexpr std::chrono::milliseconds kLongestPause{50};

std::vector<std::string> gather_bytes(const std::string& mine, size_t bytes) {
  std::vector<int64_t> words((bytes + kWord - 1) / kWord);
  std::memcpy(words.data(), mine.data(), mine.size());
  std::vector<std::string> texts;
  for (const auto& of_rank : comm::gather_words(words)) {
    texts.emplace_back(reinterpret_cast<const char*>(of_rank.data()), of_rank.size() * kWord);
  }
  return texts;
}

// Short texts take one collective, longer ones another for what does not fit into the first.
std::vector<std::string> gather_texts(const std::string& mine) {
  const auto length = static_cast<int64_t>(mine.size());
  std::string head(reinterpret_cast<const char*>(&length), sizeof length);
  const std::vector<std::string> heads = gather_bytes(head + mine.substr(0, kShort), kWord + kShort);
  std::vector<size_t> lengths;
  for (const std::string& text : heads) {
    lengths.push_back(0);
    std::memcpy(&lengths.back(), text.data(), sizeof lengths[0]);
  }
  const size_t longest = *std::max_element(lengths.begin(), lengths.end());
  std::vector<std::string> tails(heads.size());
  if (longest > kShort) tails = gather_bytes(mine.size() > kShort ? mine.substr(kShort) : "", longest - kShort);
  std::vector<std::string> texts;
  for (size_t rank = 0; rank < heads.size(); ++rank) {
    texts.push_back((heads[rank].substr(kWord, kShort) + tails[rank]).substr(0, lengths[rank]));
  }
  return texts;
}

// A connection to the world's store, kept from one exchange to the next: to make one takes as long as to tell something
// by it.
struct Connection {
  Connection(c10::intrusive_ptr<c10d::Store> made, int64_t rank) : store(std::move(made)) {
    store->setTimeout(kSilence);
    store->set(process_key(rank), this_process());
  }
  static std::string process_key(int64_t rank) { return c10::str("weft/checkpoint/process/", rank); }

  const c10::intrusive_ptr<c10d::Store> store;
  std::atomic<bool> broken = false;
};

struct KeptConnection : ContextState {
  std::shared_ptr<Connection> connection;
};

// While it lives, a number of this rank's in the store goes up: not at once, as most exchanges are over soon.
class SignOfLife {
 public:
  SignOfLife(c10::intrusive_ptr<c10d::Store> store, int64_t rank)
      : thread_([this, store = std::move(store), key = key_of(rank)] { give(*store, key); }) {}
  ~SignOfLife() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  static std::string key_of(int64_t rank) { return c10::str("alive/", rank); }

 private:
  void give(c10d::Store& store, const std::string& key) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!changed_.wait_for(lock, kSign, [&] { return over_; })) {
      try {
        store.add(key, 1);
      } catch (const std::exception&) {  // who exchanges is told the same
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

class StoreExchange {
 public:
  StoreExchange(std::shared_ptr<Connection> connection, const std::string& prefix, const std::string& what,
                int64_t rank, int64_t ranks)
      : what_(what),
        connection_(std::move(connection)),
        store_(c10::make_intrusive<c10d::PrefixStore>(prefix, connection_->store)),
        rank_(rank),
        ranks_(ranks),
        alive_(store_, rank) {}

  std::vector<std::string> all(const std::string& mine) {
    try {
      return by_store(what_, [&] { return exchange(mine); });
    } catch (...) {
      connection_->broken = true;  // perhaps in the midst of an answer
      throw;
    }
  }

 private:
  std::vector<std::string> exchange(const std::string& mine) {
    const std::string prefix = c10::str(round_++, '/');
    store_->set(prefix + std::to_string(rank_), mine);
    if (rank_ == 0) return put_together(prefix);
    std::vector<std::string> texts(static_cast<size_t>(ranks_));
    const std::string joined = get(prefix + "all", 0);
    TORCH_CHECK(joined[0] != kLost, coded("W092", joined.substr(1)));
    store_->add(prefix + "read", 1);
    size_t at = 0, begin = joined.find('\n') + 1;
    for (std::string& text : texts) {
      size_t digits = 0;
      const size_t length = std::stoull(joined.substr(at, begin - at), &digits);
      at += digits + 1;
      text = joined.substr(begin, length);
      begin += length;
    }
    return texts;
  }

  // Rank 0 puts all together, so that the others read but one value: the lengths come first.
  std::vector<std::string> put_together(const std::string& prefix) const {
    std::vector<std::string> texts(static_cast<size_t>(ranks_));
    std::string lengths, joined;
    for (int64_t other = 0; other < ranks_; ++other) {
      const std::string key = prefix + std::to_string(other);
      try {
        texts[other] = get(key, other);
      } catch (const c10::Error& error) {
        store_->set(prefix + "all", kLost + std::string(error.what_without_backtrace()));
        throw;
      }
      joined += texts[other];
      lengths += c10::str(texts[other].size(), ' ');
      store_->deleteKey(key);
    }
    store_->set(prefix + "all", lengths + "\n" + joined);
    see_them_read(prefix);
    return texts;
  }

  std::string get(const std::string& key, int64_t from) const {
    auto pause = std::chrono::milliseconds(1);
    auto last_sign = std::chrono::steady_clock::now();
    int64_t signs = -1;
    while (!store_->check({key})) {
      std::this_thread::sleep_for(pause);
      if (pause == kLongestPause && process_ended(from) && !store_->check({key})) {
        TORCH_CHECK(false, "[W092] ", what_, ": rank ", from, " has ended: its process is not there any more");
      }
      pause = std::min(2 * pause, kLongestPause);
      const auto now = std::chrono::steady_clock::now();
      if (const int64_t known = store_->add(SignOfLife::key_of(from), 0); known != signs) {
        signs = known;
        last_sign = now;
      }
      TORCH_CHECK(now - last_sign < kSilence, "[W092] ", what_, ": rank ", from,
                  " has ended: it gave no sign of life for ", kSilence.count(), " s");
    }
    return store_->get_to_str(key);
  }
  bool process_ended(int64_t rank) const {
    const std::string key = Connection::process_key(rank);
    return connection_->store->check({key}) && has_ended(connection_->store->get_to_str(key));
  }
  // The store may end with this process. One that has ended reads nothing any more: the others soon will have.
  void see_them_read(const std::string& prefix) const {
    auto pause = std::chrono::milliseconds(1);
    auto deadline = std::chrono::steady_clock::now() + kReading;
    for (bool all_live = true; store_->add(prefix + "read", 0) < ranks_ - 1;) {
      const auto now = std::chrono::steady_clock::now();
      if (now > deadline) break;
      for (int64_t other = 1; other < ranks_ && all_live && pause == kLongestPause; ++other) {
        all_live = !process_ended(other);
        if (!all_live) deadline = std::min(deadline, now + kReadingSoon);
      }
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, kLongestPause);
    }
    store_->deleteKey(prefix + "all");
    store_->deleteKey(prefix + "read");
  }

  const std::string what_;
  const std::shared_ptr<Connection> connection_;
  const c10::intrusive_ptr<c10d::Store> store_;
  const int64_t rank_, ranks_;
  int64_t round_ = 0;
  SignOfLife alive_;
};

constexpr char kResult = '+', kError = '-';

std::string error_text(const std::string& type, const std::string& message) { return kError + type + "\n" + message; }

}  // namespace

Exchange exchange_by_collectives() {
  if (context().world_size() == 1) return [](const std::string& mine) { return std::vector<std::string>{mine}; };
  return gather_texts;
}

void connect_to_store(const std::string& what) {
  Context& here = context();
  if (here.world_size() == 1) return;
  const auto store = here.world()->getStore();
  TORCH_CHECK(store,
              "[W097] async_save: the process group has no store by which the ranks could tell each other of its end; "
              "use save");
  auto& connection = here.state<KeptConnection>().connection;
  if (!connection || connection->broken) {
    connection = by_store(what, [&] { return std::make_shared<Connection>(store->clone(), here.rank()); });
  }
}

Exchange exchange_by_store(const std::string& name, const std::string& what) {
  Context& here = context();
  if (here.world_size() == 1) return exchange_by_collectives();
  const auto exchange = std::make_shared<StoreExchange>(
      here.state<KeptConnection>().connection, "weft/checkpoint/" + name, what, here.rank(), here.world_size());
  return [exchange](const std::string& mine) { return exchange->all(mine); };
}

std::vector<int64_t> together_same(const std::vector<int64_t>& words, const std::string& what,
                                   c10::function_ref<int64_t()> part) {
  int64_t mine = 0;
  std::exception_ptr error;
  try {
    mine = part();
  } catch (...) {
    error = std::current_exception();
  }
  std::vector<int64_t> all = comm::gather_same(words, what, nullptr, mine);
  if (std::find(all.begin(), all.end(), 0) != all.end()) {
    together(exchange_by_collectives(), [&] {
      if (error) std::rethrow_exception(error);
      return std::string();
    });
  }
  return all;
}

std::vector<std::string> together(const Exchange& exchange, c10::function_ref<std::string()> part) {
  std::string mine;
  try {
    mine = kResult + part();
  } catch (const c10::Error& error) {
    mine = error_text(comm::error_type(error), error.what_without_backtrace());
  } catch (const std::exception& error) {
    mine = error_text("", error.what());
  }
  std::vector<std::string> all = exchange(mine);
  const auto failed = std::find_if(all.begin(), all.end(), [](const auto& text) { return text[0] == kError; });
  if (failed != all.end()) {
    const bool everywhere = std::count(all.begin(), all.end(), *failed) == static_cast<int64_t>(all.size());
    const size_t line = failed->find('\n');
    std::string message = failed->substr(line + 1);
    if (!everywhere) message = c10::str("on rank ", failed - all.begin(), ": ", message);
    comm::raise_error(failed->substr(1, line - 1), coded("W094", message));
  }
  for (std::string& text : all) text.erase(0, 1);
  return all;
}

}  // namespace weft::checkpoint
