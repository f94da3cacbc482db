#include "kernels/install.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/installed.h"
#include "debug/trace.h"
#include "dispatch/handler.h"
#include "dispatch/how.h"
#include "dispatch/sparse.h"
#include "kernels/unboxed.h"
#include "tensor/key.h"
#include "tensor/sharded.h"
#include "tensor/strided.h"
#include "tensor/traced.h"

namespace weft {
namespace install_detail {
std::atomic<bool> queued{false};
}

namespace {

struct State {
  std::mutex mutex;
  std::vector<c10::OperatorName> queue;
  std::unordered_map<std::string, std::unique_ptr<torch::Library>> libraries;
  std::vector<std::unique_ptr<torch::Library>> kernels, mixed;
  std::unordered_map<std::string, std::unique_ptr<torch::Library>> sparse;
  std::unique_ptr<torch::Library> fallbacks, definitions;
  std::vector<c10::RegistrationHandleRAII> listener;
};
// Leaked on purpose: registrations must not be undone while the process ends.
State& state() {
  static State* s = new State();
  return *s;
}

// The kernel of every op that has none of its own signature (kernels/unboxed.h).
class BoxedKernel final : public c10::OperatorKernel {
 public:
  explicit BoxedKernel(const c10::OperatorHandle& op) : op_(op) {}
  void operator()(const c10::OperatorHandle&, c10::DispatchKeySet, torch::jit::Stack* stack) {
    register_queued_ops();
    run_op(op_.info(), *stack);
  }

 private:
  KnownOp op_;
};

// What core has a kernel of on GPUs alone runs as it does where the shards are: there by Weft's kernel, below core's
// autograd; elsewhere op by op.
class FusedOnGpus final : public c10::OperatorKernel {
 public:
  FusedOnGpus(const c10::OperatorHandle& op, c10::DispatchKey key) : op_(op) {
    if (key == kAutogradKey) autograd_ = op.getComputedKernelForDispatchKey(c10::DispatchKey::AutogradCUDA);
  }
  void operator()(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
    register_queued_ops();
    const auto arguments = torch::jit::last(*stack, op.schema().arguments().size());
    const bool on_gpu = std::any_of(arguments.begin(), arguments.end(), [](const c10::IValue& v) {
      return v.isTensor() && holds_shards(v.toTensor()) && v.toTensor().is_cuda();
    });
    if (!on_gpu) return op.callBoxedForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd, *stack);
    if (autograd_) return autograd_->callBoxed(op, keys, stack);
    run_op(op_.info(), *stack);
  }

 private:
  KnownOp op_;
  std::optional<c10::SafeKernelFunction> autograd_;
};

void fallback(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  register_queued_ops();
  run_op(op_info(op), *stack);
}

// Refuses calls whose tensors are sharded and compressed sparse, nested or quantized: those have no shards.
void refuse_mixed(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack*) {
  const std::string name = op.operator_name().name;
  refuse_kind(name.rfind("aten::", 0) == 0 ? name.substr(6) : name, "sparse, nested or quantized");
}

template <class Kernel>
torch::CppFunction boxed(std::unique_ptr<Kernel> kernel) {
  return torch::CppFunction::makeFromBoxedKernel(c10::BoxedKernel::makeFromFunctor(std::move(kernel)));
}

void register_op(State& s, const c10::OperatorName& name) {
  const size_t colons = name.name.find("::");
  const std::string space = name.name.substr(0, colons);
  if (space == "weft" || space == "prim") return;
  auto op = c10::Dispatcher::singleton().findOp(name);
  if (!op || !op->hasSchema() || op->hasKernelForDispatchKey(kKey)) return;
  if (is_made_of_others(*op)) return;
  const std::string full = name.name.substr(colons + 2) + (name.overload_name.empty() ? "" : "." + name.overload_name);
  auto handle = c10::Dispatcher::singleton().findSchema(name);
  if (is_fused_on_gpus(*op)) {
    for (const c10::DispatchKey key : {kKey, kAutogradKey}) {
      s.kernels.push_back(std::make_unique<torch::Library>(torch::Library::IMPL, space, key, __FILE__, __LINE__));
      s.kernels.back()->impl(full.c_str(), boxed(std::make_unique<FusedOnGpus>(*handle, key)));
    }
    return;
  }
  auto& library = s.libraries[space];
  if (!library) library = std::make_unique<torch::Library>(torch::Library::IMPL, space, kKey, __FILE__, __LINE__);
  if (auto kernel = unboxed_kernel(*handle)) {
    library->impl(full.c_str(), std::move(*kernel));
  } else {
    library->impl(full.c_str(), boxed(std::make_unique<BoxedKernel>(*handle)));
  }
  if (!has_sparse_kernel(*op)) return;
  auto& sparse = s.sparse[space];
  if (!sparse) {
    const auto key = mixed_key(c10::DispatchKey::Sparse);
    sparse = std::make_unique<torch::Library>(torch::Library::IMPL, space, key, __FILE__, __LINE__);
  }
  sparse->impl(full.c_str(), torch::CppFunction::makeFromBoxedFunction<&run_sparse>());
}

class Listener final : public c10::OpRegistrationListener {
 public:
  void onOperatorRegistered(const c10::OperatorHandle& op) override {
    State& s = state();
    std::lock_guard<std::mutex> lock(s.mutex);
    s.queue.push_back(op.operator_name());
    install_detail::queued.store(true, std::memory_order_relaxed);
  }
  void onOperatorDeregistered(const c10::OperatorHandle&) override {}
};

// What the engine calls on sharded tensors while a compiler records what they are made of (tensor/traced.h).
void run_engine_call(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const bool below_autograd = c10::impl::tls_is_dispatch_key_excluded(c10::DispatchKey::AutogradFunctionality);
  op.redispatchBoxed(below_autograd ? c10::DispatchKeySet(kKey) : keys.remove(kEngineKey), stack);
}

void install_or_throw(State& s, void (*define)(torch::Library&)) {
  auto& dispatcher = c10::Dispatcher::singleton();
  TORCH_CHECK(!dispatcher.hasBackendFallbackForDispatchKey(kKey), "[W001] dispatch key ", kKey,
              " is taken: another copy of libweft.so, or another extension that uses it, was loaded before");
  s.fallbacks = std::make_unique<torch::Library>(torch::Library::IMPL, "_", std::nullopt, __FILE__, __LINE__);
  s.fallbacks->fallback(torch::dispatch(kKey, torch::CppFunction::makeFromBoxedFunction<&fallback>()));
  s.fallbacks->fallback(torch::dispatch(kAutogradKey, torch::autograd::basicAutogradNotImplementedFallback()));
  s.fallbacks->fallback(torch::dispatch(kEntriesKey, torch::CppFunction::makeFromBoxedFunction<&run_entries>()));
  s.fallbacks->fallback(torch::dispatch(kEngineKey, torch::CppFunction::makeFromBoxedFunction<&run_engine_call>()));
  s.fallbacks->fallback(
      torch::dispatch(mixed_key(c10::DispatchKey::Sparse), torch::CppFunction::makeFromBoxedFunction<&run_sparse>()));
  for (auto kind : {c10::DispatchKey::SparseCsr, c10::DispatchKey::NestedTensor, c10::DispatchKey::Quantized}) {
    const auto mixed = mixed_key(kind);
    s.fallbacks->fallback(torch::dispatch(mixed, torch::CppFunction::makeFromBoxedFunction<&refuse_mixed>()));
    // The one op on two tensors whose kernel is core's for every backend.
    s.mixed.push_back(std::make_unique<torch::Library>(torch::Library::IMPL, "aten", mixed, __FILE__, __LINE__));
    s.mixed.back()->impl("copy_", torch::CppFunction::makeFromBoxedFunction<&refuse_mixed>());
  }
  s.definitions = std::make_unique<torch::Library>(torch::Library::DEF, "weft", std::nullopt, __FILE__, __LINE__);
  define(*s.definitions);
  register_kernels(s.kernels);
  // Told of every op there is, then of each new one.
  s.listener.push_back(dispatcher.addRegistrationListener(std::make_unique<Listener>()));
  install_detail::register_queued();
}

}  // namespace

void install_detail::register_queued() {
  State& s = state();
  std::vector<c10::OperatorName> names;
  {
    std::lock_guard<std::mutex> lock(s.mutex);
    names.swap(s.queue);
    queued.store(false, std::memory_order_relaxed);
  }
  for (const auto& name : names) register_op(s, name);
}

void install(void (*define)(torch::Library& library)) noexcept {
  State& s = state();
  try {
    install_or_throw(s, define);
    set_install_error("");
  } catch (const std::exception& e) {
    set_install_error(e.what());
  }
}

}  // namespace weft
