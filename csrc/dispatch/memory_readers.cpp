#include "dispatch/memory_readers.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <weft/tensor.h>

#include "layout/type_text.h"
#include "plan/gather.h"
#include "redistribute/tensors.h"
#include "tensor/key.h"
#include "tensor/sharded.h"

namespace weft {

std::atomic<bool> python_sets_data{false};

namespace {

// Above autograd: gathering and laying out again are differentiable, and the op sees plain tensors.
void run_gathered(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const size_t n = op.schema().arguments().size();
  Mesh mesh = nullptr;
  int64_t bytes = 0;
  for (size_t i = stack->size() - n; i < stack->size(); ++i) {
    c10::IValue& v = (*stack)[i];
    if (!v.isTensor() || !holds_shards(v.toTensor())) continue;
    const at::Tensor t = v.toTensor();
    mesh = sharded(t).layout()->mesh();
    bytes += bytes_to_gather(t);
    v = full_or_alias(t);
  }
  warn_gather(op.schema().name(), "it reads memory by itself", bytes);
  op.callBoxed(stack);
  const at::Tensor result = stack->back().toTensor();
  stack->back() = distribute_tensor(result, TensorLayout::replicated(mesh, result.dim()));
}

bool exists(const std::string& name) {
  const size_t dot = name.find('.');
  const std::string overload = dot == std::string::npos ? "" : name.substr(dot + 1);
  return c10::Dispatcher::singleton().findSchema({"aten::" + name.substr(0, dot), overload}).has_value();
}

// Where to split is all that is read of the indices; the parts are views of self as ever.
std::vector<at::Tensor> tensor_split(const at::Tensor& self, const at::Tensor& where, int64_t dim) {
  const at::Tensor plain = full_or_alias(where).to(at::kCPU, at::kLong).contiguous();
  TORCH_CHECK(plain.dim() <= 1,
              "[W068] tensor_split: where to split must be a number or a list of them, not a tensor of ", plain.dim(),
              " dimensions");
  if (plain.dim() == 0) return at::tensor_split(self, plain.item<int64_t>(), dim);
  return at::tensor_split(self, at::IntArrayRef(plain.const_data_ptr<int64_t>(), plain.numel()), dim);
}

// Core's own reads the memory where no gradient is asked for.
at::Tensor max_pool1d(const at::Tensor& self, at::IntArrayRef kernel, at::IntArrayRef stride, at::IntArrayRef padding,
                      at::IntArrayRef dilation, bool ceil_mode) {
  return std::get<0>(at::max_pool1d_with_indices(self, kernel, stride, padding, dilation, ceil_mode));
}

// Asked before `self.set_data(from)`. A sharded tensor takes any value; a plain one would have to become another
// object.
bool has_compatible_shallow_copy_type(const at::Tensor& self, const at::Tensor& from) {
  if (holds_shards(self)) return true;
  TORCH_CHECK_NOT_IMPLEMENTED(python_sets_data.load(), "[W056] [set_data] the data of a plain tensor ",
                              type_text(self.scalar_type(), self.sizes(), nullptr), " cannot be set to a sharded one ",
                              type_text(from.scalar_type(), from.sizes(), sharded(from).layout()),
                              "; put the sharded tensor itself where the plain one is, or copy its value with copy_");
  return false;
}

void run_with_plain_lengths(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  const size_t base = stack->size() - arguments.size();
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].name() == "batch_sizes") (*stack)[base + i] = full_or_alias((*stack)[base + i].toTensor());
  }
  op.callBoxedForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd, *stack);
}

}  // namespace

void register_memory_readers(std::vector<std::unique_ptr<torch::Library>>& libraries,
                             c10::ArrayRef<const char*> gathered, c10::ArrayRef<const char*> read_lengths) {
  for (const c10::DispatchKey key : {kKey, kAutogradKey}) {
    auto library = std::make_unique<torch::Library>(torch::Library::IMPL, "aten", key, __FILE__, __LINE__);
    for (const char* name : gathered) {
      if (exists(name)) library->impl(name, torch::CppFunction::makeFromBoxedFunction<&run_gathered>());
    }
    for (const char* name : read_lengths) {
      if (exists(name)) library->impl(name, torch::CppFunction::makeFromBoxedFunction<&run_with_plain_lengths>());
    }
    library->impl("tensor_split.tensor_indices_or_sections", TORCH_FN(tensor_split));
    library->impl("max_pool1d", TORCH_FN(max_pool1d));
    library->impl("_has_compatible_shallow_copy_type", TORCH_FN(has_compatible_shallow_copy_type));
    libraries.push_back(std::move(library));
  }
}

}  // namespace weft
