#pragma once
// Plans by call. A key is a flat run of words (op, layouts by address, shapes, the arguments plans depend on); a hit
// takes no lock and allocates nothing. Bounded; a dropped plan is made again, the same.
#include <c10/util/SmallVector.h>

#include <memory>

#include "plan/plan.h"

namespace weft {

class PlanKey {
 public:
  void push(uint64_t word) { words_.push_back(word); }
  void push(const void* p) { words_.push_back(reinterpret_cast<uintptr_t>(p)); }
  void push_all(c10::IntArrayRef values) {
    for (const int64_t value : values) push(static_cast<uint64_t>(value));  // append calls memmove, for two or three
  }
  void push_text(const std::string& text);
  c10::ArrayRef<uint64_t> words() const { return words_; }
  uint64_t hash() const;

 private:
  static constexpr size_t kMost = 192;  // without memory of its own: lists of some thirty tensors
  c10::SmallVector<uint64_t, kMost> words_;
};

/// The plan under `key` in the calling context; null: none yet.
std::shared_ptr<const Plan> find_plan(const PlanKey& key, uint64_t hash);
void store_plan(const PlanKey& key, uint64_t hash, std::shared_ptr<const Plan> plan);

struct PlanCounts {
  uint64_t misses = 0, stored = 0;
};
PlanCounts plan_counts();

}  // namespace weft
