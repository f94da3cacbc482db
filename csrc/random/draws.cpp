#include "random/draws.h"

#include <ATen/CPUGeneratorImpl.h>

#include <mutex>

#include "random/random.h"
#include "tensor/identity.h"

namespace weft::random {
namespace {

// A GPU's generator does not tell while a graph is captured: where each replay begins is not known yet.
std::optional<uint64_t> position_on_gpu(const c10::GeneratorImpl& state) {
  try {
    return mix(state.current_seed(), state.get_offset());
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

// A hash of where a generator is in its stream; none: it does not tell.
std::optional<uint64_t> position(at::Generator& generator) {
  const std::lock_guard<std::mutex> lock(generator.mutex());
  if (!generator.device().is_cpu()) return position_on_gpu(*generator.unsafeGetGeneratorImpl());
  const at::mt19937_data_pod state = generator.get<at::CPUGeneratorImpl>()->engine().data();
  uint64_t h = mix(state.seed_, (static_cast<uint64_t>(state.left_) << 32) | state.next_);
  for (size_t i = 0; i < at::MERSENNE_STATE_N; i += at::MERSENNE_STATE_N / 8) h = mix(h, state.state_[i]);
  return h;
}

}  // namespace

Draws::Draws(const std::optional<at::Generator>& generator, at::Device device)
    : generator_(device.is_meta() ? at::Generator() : generator_of(generator, device)),
      before_(generator_.defined() ? position(generator_) : std::nullopt) {}

void Draws::finish() const {
  if (!before_) return;
  at::Generator generator = generator_;
  if (position(generator) != before_) note_drawn(*before_);
}

}  // namespace weft::random
