#include "random/draws.h"

#include <ATen/CPUGeneratorImpl.h>

#include <mutex>

#include "random/random.h"
#include "tensor/identity.h"

namespace weft::random {
namespace {

// A hash of where a generator is in its stream.
uint64_t position(at::Generator& generator) {
  const std::lock_guard<std::mutex> lock(generator.mutex());
  if (!generator.device().is_cpu()) {
    c10::GeneratorImpl* state = generator.unsafeGetGeneratorImpl();
    return mix(state->current_seed(), state->get_offset());
  }
  const at::mt19937_data_pod state = generator.get<at::CPUGeneratorImpl>()->engine().data();
  uint64_t h = mix(state.seed_, (static_cast<uint64_t>(state.left_) << 32) | state.next_);
  for (size_t i = 0; i < at::MERSENNE_STATE_N; i += at::MERSENNE_STATE_N / 8) h = mix(h, state.state_[i]);
  return h;
}

}  // namespace

Draws::Draws(const std::optional<at::Generator>& generator, at::Device device)
    : generator_(device.is_meta() ? at::Generator() : generator_of(generator, device)),
      before_(generator_.defined() ? position(generator_) : 0) {}

void Draws::finish() const {
  at::Generator generator = generator_;
  if (!generator.defined() || position(generator) == before_) return;
  note_drawn(before_);
}

}  // namespace weft::random
