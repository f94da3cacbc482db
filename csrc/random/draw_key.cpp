#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <mutex>

#include "random/random.h"
#include "tensor/identity.h"
#include "tensor/op_history.h"

namespace weft::random {
namespace {

/// SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection whose output bits depend on all input bits.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// Ranks whose generators have come apart draw other values.
uint64_t known(uint64_t key) {
  if (RunningOp* op = RunningOp::current()) op->add(key);
  OpHistory::of_thread().add({.name = OpHistory::kRandom, .values = key});
  return key;
}

}  // namespace

uint64_t draw_key(const std::optional<at::Generator>& generator, at::Device device) {
  if (device.is_meta()) return 0;  // there is nothing to fill, and torch draws nothing either
  at::Generator chosen =
      generator.has_value() && generator->defined() ? *generator : at::globalContext().defaultGenerator(device);
  TORCH_CHECK(chosen.device().type() == device.type(), "Expected a '", device.type(),
              "' device type for generator but found '", chosen.device().type(), "'");
  const std::lock_guard<std::mutex> lock(chosen.mutex());
  if (device.is_cpu()) return known(chosen.get<at::CPUGeneratorImpl>()->random64());
  // Through the base class, whose virtual functions need no CUDA at link time. Offsets are multiples of four there.
  constexpr uint64_t kStep = 4;
  c10::GeneratorImpl* state = chosen.unsafeGetGeneratorImpl();
  const uint64_t seed = state->current_seed(), offset = state->get_offset();
  state->set_offset(offset + kStep);
  return known(mix(mix(seed) ^ offset));
}

}  // namespace weft::random
