#include "plan/cache.h"

#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <list>
#include <mutex>
#include <unordered_map>

#include "mesh/context.h"

namespace weft {
namespace {

constexpr size_t kShared = 16384;  // plans kept per context
constexpr size_t kSlots = 1024;    // sets of the thread's own front cache
constexpr size_t kWays = 4;

struct Entry {
  uint64_t hash = 0;
  uint64_t table = 0;  // the shared table's serial number; 0: nothing here
  std::vector<uint64_t> words;
  std::shared_ptr<const Plan> plan;
  bool is(uint64_t h, uint64_t t, c10::ArrayRef<uint64_t> w) const {
    return hash == h && table == t && words.size() == w.size() &&
           std::memcmp(words.data(), w.data(), w.size() * sizeof(uint64_t)) == 0;
  }
};

struct Shared : ContextState {
  static inline std::atomic<uint64_t> serials{1};
  const uint64_t serial = serials++;
  std::mutex mutex;
  std::list<Entry> entries;  // most recently used first
  std::unordered_multimap<uint64_t, std::list<Entry>::iterator> index;
  uint64_t misses = 0;
};

struct Front {
  struct Set {
    std::array<uint64_t, kWays> hashes{};  // of the entries: side by side, so that only the right one is looked at
    std::array<Entry, kWays> entries;
    size_t next = 0;
  };
  std::array<Set, kSlots> sets;

  void put(Entry entry) {
    Set& set = sets[entry.hash % kSlots];
    const size_t way = set.next++ % kWays;
    set.hashes[way] = entry.hash;
    set.entries[way] = std::move(entry);
  }
  const Entry* find(uint64_t hash, uint64_t table, c10::ArrayRef<uint64_t> words) const {
    const Set& set = sets[hash % kSlots];
    for (size_t way = 0; way < kWays; ++way) {
      if (set.hashes[way] == hash && set.entries[way].is(hash, table, words)) return &set.entries[way];
    }
    return nullptr;
  }
};
Front& front() {
  thread_local std::unique_ptr<Front> f = std::make_unique<Front>();
  return *f;
}

}  // namespace

void PlanKey::push_text(const std::string& text) {
  push(text.size());
  for (size_t i = 0; i < text.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, std::min<size_t>(8, text.size() - i));
    push(word);
  }
}

uint64_t PlanKey::hash() const {
  // Two chains side by side, whose multiplications do not wait for each other.
  constexpr uint64_t kOdd = 0xff51afd7ed558ccdull;
  uint64_t a = 0x9e3779b97f4a7c15ull, b = words_.size();
  size_t i = 0;
  for (; i + 1 < words_.size(); i += 2) {
    a = std::rotl((a ^ words_[i]) * kOdd, 31);
    b = std::rotl((b ^ words_[i + 1]) * kOdd, 31);
  }
  if (i < words_.size()) a = std::rotl((a ^ words_[i]) * kOdd, 31);
  const uint64_t h = (a ^ std::rotl(b, 17)) * kOdd;
  return h ^ h >> 32;
}

std::shared_ptr<const Plan> find_plan(const PlanKey& key, uint64_t hash) {
  Shared& shared = context().state<Shared>();
  if (const Entry* e = front().find(hash, shared.serial, key.words())) return e->plan;
  std::lock_guard<std::mutex> lock(shared.mutex);
  auto [begin, end] = shared.index.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (!it->second->is(hash, shared.serial, key.words())) continue;
    shared.entries.splice(shared.entries.begin(), shared.entries, it->second);
    front().put(shared.entries.front());
    return shared.entries.front().plan;
  }
  return nullptr;
}

void store_plan(const PlanKey& key, uint64_t hash, std::shared_ptr<const Plan> plan) {
  Shared& shared = context().state<Shared>();
  Entry entry;
  entry.hash = hash;
  entry.table = shared.serial;
  entry.words.assign(key.words().begin(), key.words().end());
  entry.plan = std::move(plan);
  front().put(entry);
  std::lock_guard<std::mutex> lock(shared.mutex);
  ++shared.misses;
  shared.entries.push_front(std::move(entry));
  shared.index.emplace(hash, shared.entries.begin());
  if (shared.entries.size() <= kShared) return;
  auto last = std::prev(shared.entries.end());
  auto [begin, end] = shared.index.equal_range(last->hash);
  for (auto it = begin; it != end; ++it) {
    if (it->second == last) {
      shared.index.erase(it);
      break;
    }
  }
  shared.entries.erase(last);
}

PlanCounts plan_counts() {
  Shared& shared = context().state<Shared>();
  std::lock_guard<std::mutex> lock(shared.mutex);
  return {shared.misses, shared.entries.size()};
}

}  // namespace weft
