#include "plan/drawn_choices.h"

#include <atomic>

#include "base/hash.h"
#include "rules/op_info.h"

namespace weft {
namespace {
std::atomic<uint64_t> drawn{0};
}  // namespace

void draw_choices(uint64_t seed) { drawn = seed; }

double cost_or_lot(const Call& call, int axis, const AxisChoice& choice, double cost) {
  const uint64_t seed = drawn;
  if (seed == 0) return cost;
  uint64_t lot = mix(seed, call.op.hash);
  for (const uint64_t word :
       {static_cast<uint64_t>(axis), static_cast<uint64_t>(choice.kind), static_cast<uint64_t>(choice.factor),
        static_cast<uint64_t>(choice.block), static_cast<uint64_t>(choice.reduction)}) {
    lot = mix(lot, word);
  }
  for (const TensorInfo& t : call.tensors) {
    for (const int64_t size : t.geometry.sizes) lot = mix(lot, static_cast<uint64_t>(size));
    if (t.layout != nullptr) lot = mix(lot, hash_text(t.layout->str()));
  }
  constexpr int kDropped = 11;  // what a double does not hold
  return static_cast<double>(lot >> kDropped);
}

}  // namespace weft
