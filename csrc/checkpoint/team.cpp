#include "checkpoint/team.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <comm/collectives.h>
#include <comm/error_types.h>
#include <comm/timeouts.h>
#include <mesh/context.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

namespace weft::checkpoint {
namespace {

constexpr size_t kWord = sizeof(int64_t);
constexpr std::chrono::seconds kReading{10};  // what is there already

std::vector<int64_t> as_words(const std::string& text, size_t words) {
  std::vector<int64_t> out(words);
  std::memcpy(out.data(), text.data(), text.size());
  return out;
}

std::vector<std::string> gather_texts(const std::string& mine) {
  std::vector<std::string> texts;
  size_t longest = 1;
  for (const auto& length : comm::gather_words({static_cast<int64_t>(mine.size())})) {
    texts.emplace_back(static_cast<size_t>(length[0]), '\0');
    longest = std::max(longest, texts.back().size());
  }
  const auto words = comm::gather_words(as_words(mine, (longest + kWord - 1) / kWord));
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    std::memcpy(texts[rank].data(), words[rank].data(), texts[rank].size());
  }
  return texts;
}

// How often this rank has made one; the ranks' agree.
struct Exchanges : ContextState {
  int64_t made = 0;
};

struct StoreExchange {
  c10::intrusive_ptr<c10d::Store> store;
  int64_t rank, ranks;
  int64_t round = 0;

  std::string get(const std::string& key, const char* who) const {
    try {
      return store->get_to_str(key);
    } catch (const std::exception& error) {
      TORCH_CHECK(false, who, " has not come to the end of its part: ", error.what());
    }
  }
  // The store may end with this process.
  void see_them_read(const std::string& prefix) const {
    const auto deadline = std::chrono::steady_clock::now() + kReading;
    while (store->add(prefix + "read", 0) < ranks - 1 && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    store->deleteKey(prefix + "all");
    store->deleteKey(prefix + "read");
  }
  std::vector<std::string> operator()(const std::string& mine) {
    const std::string prefix = c10::str(round++, '/');
    store->set(prefix + std::to_string(rank), mine);
    // The first rank puts all together, so that each is read once, and lengths come before.
    std::vector<std::string> texts(static_cast<size_t>(ranks));
    if (rank == 0) {
      std::string lengths, all;
      for (int64_t other = 0; other < ranks; ++other) {
        const std::string key = prefix + std::to_string(other);
        all += texts[other] = get(key, c10::str("rank ", other).c_str());
        lengths += c10::str(texts[other].size(), ' ');
        store->deleteKey(key);
      }
      store->set(prefix + "all", lengths + "\n" + all);
      see_them_read(prefix);
      return texts;
    }
    const std::string all = get(prefix + "all", "rank 0");
    store->add(prefix + "read", 1);
    size_t at = 0, begin = all.find('\n') + 1;
    for (std::string& text : texts) {
      size_t digits = 0;
      const size_t length = std::stoull(all.substr(at), &digits);
      at += digits + 1;
      text = all.substr(begin, length);
      begin += length;
    }
    return texts;
  }
};

constexpr char kResult = '+', kError = '-';

std::string error_text(const std::string& type, const std::string& message) { return kError + type + "\n" + message; }

}  // namespace

Exchange exchange_by_collectives() {
  if (context().world_size() == 1) return [](const std::string& mine) { return std::vector<std::string>{mine}; };
  return gather_texts;
}

Exchange exchange_by_store() {
  Context& here = context();
  if (here.world_size() == 1) return exchange_by_collectives();
  const auto store = here.world()->getStore();
  TORCH_CHECK(store,
              "async_save: the process group has no store by which the ranks could tell each other of its end; "
              "use save");
  const std::string prefix = c10::str("weft/checkpoint/", here.state<Exchanges>().made++);
  auto own = c10::make_intrusive<c10d::PrefixStore>(prefix, store->clone());
  own->setTimeout(comm::timeouts().longest(comm::kDefaultTimeout));
  return StoreExchange{own, here.rank(), here.world_size()};
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
    comm::raise_error(failed->substr(1, line - 1), std::move(message));
  }
  for (std::string& text : all) text.erase(0, 1);
  return all;
}

}  // namespace weft::checkpoint
