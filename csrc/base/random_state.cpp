#include "base/random_state.h"

#include <ATen/Context.h>

#include <mutex>

namespace weft {
namespace {

bool has(c10::DeviceType device) { return device == at::kCPU || at::globalContext().hasCUDA(); }

at::Tensor state_of(c10::DeviceType device) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

}  // namespace

std::vector<std::pair<std::string, at::Tensor>> random_state() {
  std::vector<std::pair<std::string, at::Tensor>> states = {{"cpu", state_of(at::kCPU)}};
  if (has(at::kCUDA)) states.emplace_back("cuda", state_of(at::kCUDA));
  return states;
}

void set_random_state(const std::string& device, const at::Tensor& state) {
  const c10::DeviceType type = device == "cuda" ? at::kCUDA : at::kCPU;
  if (!has(type)) return;
  at::Generator generator = at::globalContext().defaultGenerator(type);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
}

}  // namespace weft
