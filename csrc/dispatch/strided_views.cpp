#include "dispatch/strided_views.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include "tensor/key.h"
#include "tensor/sharded.h"
#include "views/views.h"

namespace weft {
namespace {

void run_strided(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  // as_strided (self, size, stride, storage_offset)
  const size_t base = stack->size() - op.schema().arguments().size();
  const at::Tensor self = (*stack)[base].toTensor();
  if (holds_shards(self) && !sharded(self).layout()->is_replicated()) {
    const c10::IValue& offset = (*stack)[base + 3];
    const at::Tensor out =
        as_differentiable_views(self, (*stack)[base + 1].toIntVector(), (*stack)[base + 2].toIntVector(),
                                offset.isInt() ? offset.toInt() : self.storage_offset());
    if (out.defined()) {
      torch::jit::drop(*stack, op.schema().arguments().size());
      return stack->push_back(out);
    }
  }
  // Core's kernel, of all backends.
  op.callBoxedForDispatchKey(c10::DispatchKey::Autograd, *stack);
}

}  // namespace

void register_strided_views(std::vector<std::unique_ptr<torch::Library>>& libraries) {
  auto library = std::make_unique<torch::Library>(torch::Library::IMPL, "aten", kAutogradKey, __FILE__, __LINE__);
  library->impl("as_strided", torch::CppFunction::makeFromBoxedFunction<&run_strided>());
  libraries.push_back(std::move(library));
}

}  // namespace weft
