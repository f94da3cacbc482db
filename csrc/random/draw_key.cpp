#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <mutex>

#include "random/random.h"
#include "tensor/identity.h"
#include "tensor/op_history.h"

namespace weft::random {
namespace {

/// SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection whose output bits depend on all input bits.
uint64_t finalized(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

uint64_t known(uint64_t key) {
  note_drawn(key);
  return key;
}

}  // namespace

at::Generator generator_of(const std::optional<at::Generator>& given, at::Device device) {
  return given.has_value() && given->defined() ? *given : at::globalContext().defaultGenerator(device);
}

void note_drawn(uint64_t word) {
  if (RunningOp* op = RunningOp::current()) op->add(word);
  OpHistory::of_thread().add({.name = OpHistory::kRandom, .values = word});
}

uint64_t draw_key(const std::optional<at::Generator>& generator, at::Device device) {
  if (device.is_meta()) return 0;  // there is nothing to fill, and torch draws nothing either
  at::Generator chosen = generator_of(generator, device);
  TORCH_CHECK(chosen.device().type() == device.type(), "[W068] Expected a '", device.type(),
              "' device type for generator but found '", chosen.device().type(), "'");
  const std::lock_guard<std::mutex> lock(chosen.mutex());
  if (device.is_cpu()) return known(chosen.get<at::CPUGeneratorImpl>()->random64());
  // Through the base class, whose virtual functions need no CUDA at link time. Offsets are multiples of four there.
  constexpr uint64_t kStep = 4;
  c10::GeneratorImpl* state = chosen.unsafeGetGeneratorImpl();
  try {
    const uint64_t seed = state->current_seed(), offset = state->get_offset();
    state->set_offset(offset + kStep);
    return known(finalized(finalized(seed) ^ offset));
  } catch (const c10::Error& error) {
    TORCH_CHECK_NOT_IMPLEMENTED(false, "[W070] the generator of ", device,
                                " does not tell what to draw by, as while a CUDA graph is captured: "
                                "leave random ops out of what is captured, or switch to "
                                "weft.random_mode(\"replay\") (",
                                error.what_without_backtrace(), ")");
  }
}

}  // namespace weft::random
